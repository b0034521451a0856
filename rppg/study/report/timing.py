"""Section of durations and dates, the only part of the report that differs from run to run."""

import math
from collections.abc import Sequence
from statistics import fmean

from rppg.report import html_elements as html
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.study.plan import Trial
from rppg.study.report.curves import curve_images
from rppg.study.results import CurvePoint, Tables
from rppg.study.run import Prepared

TITLE, ANCHOR = "Durations and dates", "timing"


def timing_section(prepared: Prepared, tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section: the time of each method's trials, and convergence by seconds."""
    timed: dict[str, list[Trial]] = {}
    for trial in prepared.jobs:
        if tables.timing.get(trial.title):
            timed.setdefault(trial.label, []).append(trial)
    rows = [TableRow(label, _cells(trials, tables)) for label, trials in timed.items()]
    curves = []
    if tables.curve_points:
        images = curve_images(
            tables, datasets, lambda point: _seconds(point, timed, tables), "seconds of training"
        )
        curves = [html.heading("Convergence by seconds"), images]
    return html.section(
        TITLE,
        "Depends on the machine and on what else ran on it; nothing above does. Not part of what "
        "is equal in two runs of a study.",
        data_table(
            ["Trials", "Seconds each", "Hours in all", "First begun", "Last ended"],
            rows,
            caption="Training and tests of each method.",
        ),
        *curves,
        anchor=ANCHOR,
    )


def _cells(trials: Sequence[Trial], tables: Tables) -> list[TableCell]:
    timing = [tables.timing[trial.title] for trial in trials]
    spent_s = [float(found.get("spent_s", 0.0)) for found in timing]
    begun = min((str(found["begun"]) for found in timing if "begun" in found), default="")
    ended = max((str(found["ended"]) for found in timing if "ended" in found), default="")
    return [
        TableCell(str(len(trials))),
        TableCell(f"{fmean(spent_s):.0f}", (f"{min(spent_s):.0f} to {max(spent_s):.0f}",)),
        TableCell(f"{sum(spent_s) / 3600:.2f}"),
        TableCell(begun),
        TableCell(ended),
    ]


def _seconds(point: CurvePoint, timed: dict[str, list[Trial]], tables: Tables) -> float:
    """Return the mean seconds of training until a point; NaN if they are unknown."""
    found = [
        tables.timing[trial.title].get("train_s", {}).get(str(point.epoch))
        for trial in timed.get(point.mean.label, ())
    ]
    known = [float(seconds) for seconds in found if seconds is not None]
    return fmean(known) if known else math.nan
