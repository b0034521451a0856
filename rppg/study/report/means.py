"""Section of the means by column."""

import math
from collections.abc import Sequence

from rppg.report import html_elements as html
from rppg.report.columns import MISSING, number
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.report.interval_figures import dot_figure
from rppg.study.report.wording import (
    ALL,
    COUNTS,
    columns_of,
    counts,
    limits,
    marked,
    percent,
    seen_notes,
    trials_behind,
)
from rppg.study.results import Mean, Tables


def means_section(tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section: a row for each method, a column for each dataset, and one for all."""
    found = {(mean.label, mean.test): mean for mean in tables.means}
    labels = list(dict.fromkeys(mean.label for mean in tables.means))
    columns = columns_of((mean.test for mean in tables.means), datasets)
    heads = [column or ALL for column in columns]
    best = {column: best_of(tables.means, column) for column in columns}
    errors, more = [], []
    for label in labels:
        own = {column: found.get((label, column)) for column in columns}
        note = trials_behind(max((m for m in own.values() if m), key=lambda m: m.n_training_sets))
        cells = [_error(m, best=m is not None and m.label == best[c]) for c, m in own.items()]
        errors.append(TableRow(label, cells, note))
        more.append(TableRow(label, [_others(mean) for mean in own.values()], note))
    over = columns[-1]
    dots = {
        label: (mean.mae_bpm, mean.low, mean.high)
        for label in labels
        if (mean := found.get((label, over))) and math.isfinite(mean.mae_bpm)
    }
    where = f"on {over}" if over else "over all datasets"
    figure = [
        html.image(
            dot_figure(dots, "mean absolute error (bpm)", f"Mean {where}, with 95 % interval"),
            f"Mean absolute error of each method {where}: "
            + "; ".join(f"{label} {number(value, 2)} bpm" for label, (value, *_) in dots.items()),
        )
    ] if dots else []  # fmt: skip
    caption = f"Mean absolute error (bpm), its 95 % interval below. {COUNTS}"
    return html.section(
        "Means by column",
        "Each number is the mean over the training sets that don't have the tested dataset; a "
        f"dataset's own test split doesn't count. {ALL.capitalize()} is the mean over the "
        "datasets, each with the same weight. The interval is a bootstrap over subjects and "
        "seeds. ★ marks the best of each column.",
        data_table(heads, errors, caption=caption),
        *(html.paragraph(note) for note in seen_notes(tables.means)),
        *figure,
        html.fold(
            "RMSE, correlation and coverage",
            data_table(
                heads,
                more,
                caption="Root mean squared error (bpm); correlation r of predicted with true "
                "heart rates; coverage, the share of the windows with an estimate. Means over "
                f"training sets and seeds. {COUNTS}",
            ),
        ),
        anchor="means",
    )


def best_of(means: Sequence[Mean], test: str) -> str:
    """Return the method with the least error on a dataset; empty if there are less than two."""
    errors = {m.label: m.mae_bpm for m in means if m.test == test and math.isfinite(m.mae_bpm)}
    return min(errors, key=errors.__getitem__) if len(errors) > 1 else ""


def _error(mean: Mean | None, *, best: bool) -> TableCell:
    if mean is None:
        return TableCell(MISSING)
    return TableCell(
        marked(number(mean.mae_bpm, 2), mean.seen),
        (limits(mean.low, mean.high), counts(mean.n_windows, mean.n_subjects)),
        best=best,
    )


def _others(mean: Mean | None) -> TableCell:
    if mean is None:
        return TableCell(MISSING)
    return TableCell(
        marked(number(mean.rmse_bpm, 2), mean.seen),
        (
            f"r {number(mean.pearson_r, 2)}",
            f"coverage {percent(mean.coverage)}",
            counts(mean.n_windows, mean.n_subjects),
        ),
    )
