"""The tables, as text and as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from benchmarks.reuse.protocol import Budget, Row
from benchmarks.reuse.statistics import paired_gain
from benchmarks.reuse.tasks import TASKS

Rows = Mapping[str, Mapping[str, Row]]

CONTRASTS = {
    "all three over all but smooth": ("all three", "all but smooth"),
    "project over cleared, then plain": ("project", "cleared, then plain"),
    "all three over project": ("all three", "project"),
}
"""What a level adds to others: variant and reference."""

BEGIN, END = "<!-- tables: python -m benchmarks.reuse -->", "<!-- end of tables -->"


def tables(rows: Rows) -> str:
    """Return a table a task, then who helps where, then what levels add to others, in Markdown."""
    parts = []
    for name, variants in rows.items():
        metric = TASKS[name].metric
        better = "higher" if metric.higher_is_better else "lower"
        parts += [f"**{name}** ({TASKS[name].title}). {metric.name}; {better} is better.\n"]
        parts += ["| variant | mean ± sd | gain over plain, 95 % interval | |", "| --- " * 4 + "|"]
        for variant, row in variants.items():
            parts.append(_line(variant, row))
        parts.append("")
    names = list(rows)
    variants = [variant for variant in rows[names[0]] if variant != "plain"]
    parts += ["| over plain | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    for variant in variants:
        gains = [rows[name][variant].gain for name in names]
        cells = [gain.verdict if gain else "" for gain in gains]
        parts.append(f"| {variant} | " + " | ".join(cells) + " |")
    parts += ["", "| | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    for title, (variant, reference) in CONTRASTS.items():
        cells = [_contrast(name, rows[name], variant, reference) for name in names]
        parts.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(parts)


def _contrast(name: str, variants: Mapping[str, Row], variant: str, reference: str) -> str:
    up = TASKS[name].metric.higher_is_better
    gain = paired_gain(variants[variant].values, variants[reference].values, higher_is_better=up)
    return f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) {gain.verdict}"


def _line(variant: str, row: Row) -> str:
    spread = f"{fmean(row.values):.3f} ± {stdev(row.values):.3f}"
    if row.gain is None:
        return f"| {variant} | {spread} | | |"
    gain = f"{row.gain.mean:+.3f} ({row.gain.low:+.3f} to {row.gain.high:+.3f})"
    return f"| {variant} | {spread} | {gain} | {row.gain.verdict} |"


def as_json(rows: Rows, budget: Budget) -> dict[str, Any]:
    """Return everything that the tables are made from."""
    return {
        "trials": budget.trials,
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


def insert(page: str, text: str) -> str:
    """Put the tables between the two marks of a page.

    Raises:
        ValueError: the page lacks a mark.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the marks {BEGIN!r} and {END!r} in the page, found them not")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
