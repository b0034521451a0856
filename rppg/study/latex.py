"""The tables of a study as papers print them, in LaTeX: `study.tex`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from rppg.report.latex import DAGGER, MISSING, escape, number
from rppg.study.results import Cell, Mean, Tables
from rppg.study.run import Prepared

Value = TypeVar("Value", Cell, Mean)

METRICS: Mapping[str, tuple[str, int, bool]] = {
    "mae_bpm": ("MAE", 2, True),
    "rmse_bpm": ("RMSE", 2, True),
    "pearson_r": ("$r$", 2, False),
}
"""By field of `Cell` and `Mean`: heading, digits, and whether lower is better."""
MOST_DATASETS = 4
"""Datasets side by side in one table; more are in another one below it."""
HEAD = r"""% Needs \usepackage{booktabs}. In each column the best is bold, the second underlined.
"""
ALL = "All"


@dataclass(frozen=True)
class Line:
    """A row of a table.

    Attributes:
        names: its first cells, escaped.
        group: lines of different groups are parted by a rule.
        values: by column; those without one are missing.
    """

    names: tuple[str, ...]
    group: str
    values: Mapping[str, Cell | Mean]


def to_latex(prepared: Prepared, tables: Tables) -> str:
    """Return the means by column, each training set's errors, and those on own test splits."""
    datasets = [dataset.name for dataset in prepared.study.data]
    means = _lines(
        tables.means,
        lambda mean: ((escape(mean.label),), ""),
        lambda mean: mean.test or ALL,
    )
    parts = {
        "across": ("On each tested dataset, by what was trained on.", ("whole", "folds")),
        "own": ("On the test split of the dataset whose training split was trained on; methods "
                "that aren't trained, on the same.", ("test",)),
    }  # fmt: skip
    blocks = [
        *_tables(
            "means",
            "Means over the training sets without the tested dataset, and seeds.",
            ("Method",),
            means,
            [*datasets, ALL],
        )
    ]
    for name, (caption, kinds) in parts.items():
        cells = [cell for cell in tables.cells if cell.part in kinds]
        lines = _lines(
            sorted(cells, key=lambda cell: _training_order(cell.training, cells)),
            lambda cell: ((escape(cell.label), escape(cell.training) or MISSING), cell.training),
            lambda cell: cell.test,
        )
        blocks += _tables(name, caption, ("Method", "Trained on"), lines, datasets)
    return HEAD + "\n".join(blocks)


def _training_order(training: str, cells: Sequence[Cell]) -> int:
    """Return 0 without a training, then in order of appearance."""
    order = dict.fromkeys(cell.training for cell in cells if cell.training)
    return [*order].index(training) + 1 if training else 0


def _lines(
    found: Iterable[Value],
    describe: Callable[[Value], tuple[tuple[str, ...], str]],
    column: Callable[[Value], str],
) -> list[Line]:
    lines: dict[tuple[tuple[str, ...], str], dict[str, Cell | Mean]] = {}
    for one in found:
        lines.setdefault(describe(one), {})[column(one)] = one
    return [Line(names, group, values) for (names, group), values in lines.items()]


def _tables(
    name: str, caption: str, heads: Sequence[str], lines: Sequence[Line], columns: Sequence[str]
) -> Iterable[str]:
    """Yield one table for every few columns that have a value."""
    present = [column for column in columns if any(column in line.values for line in lines)]
    for start in range(0, len(present), MOST_DATASETS):
        shown = present[start : start + MOST_DATASETS]
        label = f"tab:{name}" + (f"-{start // MOST_DATASETS + 1}" if start else "")
        own = [line for line in lines if any(column in line.values for column in shown)]
        yield _table(label, caption, heads, own, shown)


def _table(
    label: str, caption: str, heads: Sequence[str], lines: Sequence[Line], columns: Sequence[str]
) -> str:
    marked = {
        (column, metric): _best(column, metric, lines) for column in columns for metric in METRICS
    }
    width = len(METRICS)
    first = [len(heads) + 1 + width * index for index in range(len(columns))]
    spans = [rf"\multicolumn{{{width}}}{{c}}{{{escape(column)}}}" for column in columns]
    titles = [title for title, _, _ in METRICS.values()]
    seen = any(value.seen for line in lines for value in line.values.values())
    note = f" {DAGGER} trained on some of the tested recordings." if seen else ""
    text = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{escape(caption)} MAE and RMSE in bpm. {_counts(lines, columns)}{note}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{'l' * len(heads)}{'r' * width * len(columns)}}}",
        r"\toprule",
        " & ".join([*[""] * len(heads), *spans]).strip() + r" \\",
        "".join(rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in first),
        " & ".join([*heads, *titles * len(columns)]) + r" \\",
    ]
    for _, group in groupby(lines, key=lambda line: line.group):
        text.append(r"\midrule")
        for line in group:
            cells = [
                _value(line.values.get(column), metric, marked[column, metric])
                for column in columns
                for metric in METRICS
            ]
            text.append(" & ".join([*line.names, *cells]) + r" \\")
    return "\n".join([*text, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _counts(lines: Sequence[Line], columns: Sequence[str]) -> str:
    """Return the windows, people and seeds behind each column."""
    parts = []
    for column in columns:
        own = [line.values[column] for line in lines if column in line.values]
        windows, people = max(v.n_windows for v in own), max(v.n_subjects for v in own)
        parts.append(f"{escape(column)} {windows} ({people})")
    seeds = max(value.n_seeds for line in lines for value in line.values.values())
    return rf"$n$ = windows (people): {', '.join(parts)}; {seeds} seed{'s' if seeds > 1 else ''}."


def _best(column: str, metric: str, lines: Sequence[Line]) -> list[float]:
    """Return the best and the second value as printed, if there are two or more to choose from."""
    _, digits, lower = METRICS[metric]
    values = [getattr(line.values[column], metric) for line in lines if column in line.values]
    printed = [round(value, digits) for value in values if math.isfinite(value)]
    return sorted(set(printed), reverse=not lower)[:2] if len(printed) > 1 else []


def _value(found: Cell | Mean | None, metric: str, best: Sequence[float]) -> str:
    if found is None:
        return ""
    _, digits, _ = METRICS[metric]
    value = getattr(found, metric)
    text = number(value, digits)
    if math.isfinite(value) and round(value, digits) in best:
        command = (r"\textbf", r"\underline")[best.index(round(value, digits))]
        text = f"{command}{{{text}}}"
    return text + (DAGGER if found.seen and metric == "mae_bpm" else "")
