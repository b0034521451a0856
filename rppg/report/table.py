"""The score table for the terminal and as CSV."""

import csv
import io
import math

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rppg.evaluation import Evaluation, Scope
from rppg.evaluation.objected import list_objected
from rppg.report.columns import COLUMNS, best, coverage, statistic
from rppg.report.trained_on import MARK, footnotes, mark


def score_table(
    evaluation: Evaluation, scope: Scope = "windows", *, by: str | None = None
) -> Table:
    """Return the score table for a terminal, the best value of each dataset in bold.

    It has a row for each dataset and method, and each value of the metadata `by`. It has only the
    columns that fit a terminal; `scores_csv` has all.
    """
    scores = evaluation.summary(scope, by=by)
    columns = [column for column in COLUMNS if column.in_terminal]
    marked = {column.field: best(column, scores) for column in columns}
    title = windows_title(evaluation) if scope == "windows" else "whole clips"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", overflow="fold")
    for heading in (*(column.title for column in columns), "coverage", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    part: tuple[str, str] | None = None
    for row in scores:
        if (row.dataset, row.group) != part:
            if part is not None:
                table.add_section()
            part = (row.dataset, row.group)
            table.add_row(Text(" · ".join(name for name in part if name), style="bold"))
        key = (row.dataset, row.group, row.method)
        cells = [
            Text(statistic(column, row), style="bold green" if key in marked[column.field] else "")
            for column in columns
        ]
        table.add_row(Text(f"  {row.method}{mark(row)}"), *cells, coverage(row), str(row.n))
    if notes := footnotes(scores):
        table.caption = Text("\n".join(f"{MARK} {note}" for note in notes), style="")
        table.caption_justify = "left"
    return table


def describe_use(evaluation: Evaluation) -> list[str]:
    """Return lines for below the table: which recordings are used, and what speaks against them.

    How many recordings are used, why others aren't, and in which of those used the frames speak
    against heart rates.
    """
    used = sum(part.recordings for part in evaluation.data)
    left_out = [failure for failure in evaluation.failures if failure.method is None]
    lines = [f"{used} of {used + len(left_out)} recordings are used"]
    if left_out:
        lines[0] += f"; {len(left_out)} left out:"
    lines += [f"  {failure.record}: {failure.reason}" for failure in left_out]
    if objected := list_objected(evaluation):
        records = len({(found.dataset, found.record) for found in objected})
        lines.append(f"{records} of those used have windows that can't be relied on:")
        lines += [f"  {found.text}" for found in objected]
    return lines


def windows_title(evaluation: Evaluation) -> str:
    """Return the title of the scores of the windows, with the settings that matter most."""
    continuity = ", with continuity" if evaluation.settings.get("continuity") else ""
    peaks = ", heart rates from peaks" if evaluation.settings.get("hr") == "peaks" else ""
    return f"windows of {evaluation.settings.get('window_s', '?')} s{continuity}{peaks}"


def scores_csv(evaluation: Evaluation, scope: Scope = "windows", *, by: str | None = None) -> str:
    """Return the scores as CSV: each metric with `_se`, `_low` and `_high`; missing is empty.

    The last columns are the number of recordings, and of those in the method's training data.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = ("", "_se", "_low", "_high")
    metrics = [column.field + part for column in COLUMNS for part in parts]
    limits = ["bias_bpm", "limits_low_bpm", "limits_high_bpm"]
    counts = ["recordings", "trained_on"]
    head = ["dataset", *([by] if by is not None else []), "method"]
    writer.writerow([*head, "n", "subjects", "coverage", *metrics, *limits, *counts])
    for row in evaluation.summary(scope, by=by):
        statistics = [column.get(row) for column in COLUMNS]
        values = [row.coverage]
        values += [value for s in statistics for value in (s.value, s.se, s.low, s.high)]
        values += [row.agreement.bias_bpm, row.agreement.low_bpm, row.agreement.high_bpm]
        names = [row.dataset, *([row.group] if by is not None else []), row.method]
        cells = [f"{value:.6g}" if math.isfinite(value) else "" for value in values]
        writer.writerow([*names, row.n, row.n_subjects, *cells, row.recordings, row.trained_on])
    return out.getvalue()
