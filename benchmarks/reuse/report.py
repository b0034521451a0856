"""The tables, as Markdown and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from benchmarks.results import markdown_table
from benchmarks.reuse.protocol import Budget, Row
from benchmarks.reuse.statistics import paired_gain
from benchmarks.reuse.tasks import TASKS

Rows = Mapping[str, Mapping[str, Row]]

CONTRASTS = {
    "all three over all but smooth": ("all three", "all but smooth"),
    "project over cleared, then plain": ("project", "cleared, then plain"),
    "all three over project": ("all three", "project"),
}
"""Comparisons that show what a level adds to others: variant and reference."""

BEGIN, END = "<!-- tables: python -m benchmarks.reuse -->", "<!-- end of tables -->"


def tables(rows: Rows) -> str:
    """Return Markdown: a table per task, one of verdicts, and one of `CONTRASTS`."""
    parts = []
    for name, variants in rows.items():
        metric = TASKS[name].metric
        better = "higher" if metric.higher_is_better else "lower"
        parts += [f"**{name}** ({TASKS[name].title}). {metric.name}; {better} is better.\n"]
        head = ["variant", "mean ± sd", "gain over plain, 95 % interval", ""]
        parts += [markdown_table(head, [_cells(name, row) for name, row in variants.items()]), ""]
    names = list(rows)
    others = [variant for variant in rows[names[0]] if variant != "plain"]
    verdicts = [
        [variant, *(gain.verdict if (gain := rows[name][variant].gain) else "" for name in names)]
        for variant in others
    ]
    contrasts = [
        [title, *(_contrast(name, rows[name], *pair) for name in names)]
        for title, pair in CONTRASTS.items()
    ]
    parts += [markdown_table(["over plain", *names], verdicts), ""]
    return "\n".join([*parts, markdown_table(["", *names], contrasts)])


def _contrast(name: str, variants: Mapping[str, Row], variant: str, reference: str) -> str:
    up = TASKS[name].metric.higher_is_better
    gain = paired_gain(variants[variant].values, variants[reference].values, higher_is_better=up)
    return f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) {gain.verdict}"


def _cells(variant: str, row: Row) -> list[str]:
    spread = f"{fmean(row.values):.3f} ± {stdev(row.values):.3f}"
    if row.gain is None:
        return [variant, spread, "", ""]
    gain = f"{row.gain.mean:+.3f} ({row.gain.low:+.3f} to {row.gain.high:+.3f})"
    return [variant, spread, gain, row.gain.verdict]


def as_json(rows: Rows, budget: Budget) -> dict[str, Any]:
    """Return all numbers behind the tables."""
    return {
        "trials": budget.settings,
        "tuning_seeds": list(budget.tuning_seeds),
        "table_seeds": list(budget.table_seeds),
        "tasks": {
            name: {
                "metric": TASKS[name].metric.name,
                "higher_is_better": TASKS[name].metric.higher_is_better,
                "variants": {variant: asdict(row) for variant, row in variants.items()},
            }
            for name, variants in rows.items()
        },
    }
