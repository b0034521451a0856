"""Columns of the score table, for the terminal, the report, CSV and LaTeX."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rppg.evaluation import Scores, Statistic

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A metric in the score table.

    Attributes:
        title: heading, with units.
        field: its name in `Scores` and in the CSV.
        get: function that returns the metric of scores.
        digits: digits after the decimal point.
        better: whether low or high values are better.
        with_se: whether the standard error is shown.
        meaning: explanation for the reader.
        in_terminal: whether it is shown in the terminal, which has less room.
    """

    title: str
    field: str
    get: Callable[[Scores], Statistic]
    digits: int
    better: Literal["low", "high"]
    with_se: bool
    meaning: str
    in_terminal: bool = False


COLUMNS = (
    Column(
        "MAE (bpm)",
        "mae_bpm",
        lambda s: s.mae_bpm,
        2,
        "low",
        True,
        "mean absolute error of the heart rate",
        in_terminal=True,
    ),
    Column(
        "RMSE (bpm)",
        "rmse_bpm",
        lambda s: s.rmse_bpm,
        2,
        "low",
        True,
        "root mean squared error, dominated by rare large errors",
        in_terminal=True,
    ),
    Column(
        "MAPE (%)",
        "mape_percent",
        lambda s: s.mape_percent,
        1,
        "low",
        False,
        "mean absolute error in percent of the true rate",
    ),
    Column(
        "r",
        "pearson_r",
        lambda s: s.pearson_r,
        2,
        "high",
        False,
        "correlation of predicted with true heart rate",
        in_terminal=True,
    ),
    Column(
        "SNR (dB)",
        "snr_db",
        lambda s: s.snr_db,
        1,
        "high",
        False,
        "power at the true heart rate and its double over the rest of the band",
        in_terminal=True,
    ),
    Column(
        "Waveform r",
        "correlation",
        lambda s: s.correlation,
        2,
        "high",
        False,
        "correlation with the true BVP at the best lag within ±0.2 s",
    ),
    Column(
        "Sine r",
        "sine_correlation",
        lambda s: s.sine_correlation,
        2,
        "high",
        False,
        "reference for Waveform r: the correlation of the true BVP with a sine at the true rate",
    ),
    Column(
        "Beat error (ms)",
        "beat_error_ms",
        lambda s: s.beat_error_ms,
        0,
        "low",
        False,
        "mean absolute error of the intervals between beats",
    ),
)

REFERENCES = ("sine_correlation",)
"""Columns that depend on the data, not on the method: no best value is marked."""


def number(value: float, digits: int) -> str:
    """Format a number; a dash if it is missing."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else MISSING


def statistic(column: Column, scores: Scores) -> str:
    """Format a cell: the value, with its standard error if the column shows it."""
    metric = column.get(scores)
    text = number(metric.value, column.digits)
    if column.with_se and math.isfinite(metric.se):
        return f"{text} ± {number(metric.se, column.digits)}"
    return text


def interval(metric: Statistic, digits: int) -> str:
    """Format the bootstrap interval; empty if it is undefined."""
    if not math.isfinite(metric.low):
        return ""
    return f"{number(metric.low, digits)} to {number(metric.high, digits)}"


def coverage(scores: Scores) -> str:
    """Format the coverage in percent."""
    return f"{number(100 * scores.coverage, 0)} %" if math.isfinite(scores.coverage) else MISSING


def best(column: Column, table: Sequence[Scores]) -> set[tuple[str, str, str]]:
    """Return `(dataset, group, method)` of the best row of each dataset and group.

    Groups with a single method have no best row.
    """
    if column.field in REFERENCES:
        return set()
    groups: dict[tuple[str, str], dict[str, float]] = {}
    for scores in table:
        value = column.get(scores).value
        if math.isfinite(value):
            groups.setdefault((scores.dataset, scores.group), {})[scores.method] = value
    best_of = min if column.better == "low" else max
    return {
        (*key, best_of(values, key=values.__getitem__))
        for key, values in groups.items()
        if len(values) > 1
    }
