"""The columns of the score table, once for the terminal, the report and CSV."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rppg.evaluation import Scores, Statistic

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One metric of the table.

    Attributes:
        title: heading, with units.
        field: name in `Scores` and in the CSV.
        get: the metric.
        digits: after the decimal point.
        better: which end is the better one.
        with_se: show the standard error.
        meaning: for the reader.
        in_terminal: shown there too, where there is less room.
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
        "root mean squared error, to which rare large errors contribute most",
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
        "power at the true heart rate and its double against the rest of the band",
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
        "yardstick for the waveform: the correlation that a sine at the true rate would get",
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

YARDSTICKS = ("sine_correlation",)
"""Columns that say something about the data, not about the method: no best to mark."""


def number(value: float, digits: int) -> str:
    """A number as text; a dash where it is missing."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else MISSING


def statistic(column: Column, scores: Scores) -> str:
    """A cell of the table: the value, with its standard error where the column has one."""
    found = column.get(scores)
    text = number(found.value, column.digits)
    if column.with_se and math.isfinite(found.se):
        return f"{text} ± {number(found.se, column.digits)}"
    return text


def interval(found: Statistic, digits: int) -> str:
    """The bootstrap interval as text; empty where it is undefined."""
    if not math.isfinite(found.low):
        return ""
    return f"{number(found.low, digits)} to {number(found.high, digits)}"


def coverage(scores: Scores) -> str:
    """Coverage in percent."""
    return f"{number(100 * scores.coverage, 0)} %" if math.isfinite(scores.coverage) else MISSING


def best(column: Column, table: Sequence[Scores]) -> set[tuple[str, str, str]]:
    """`(dataset, group, method)` of the best of each dataset and group, where there are rivals."""
    if column.field in YARDSTICKS:
        return set()
    groups: dict[tuple[str, str], dict[str, float]] = {}
    for scores in table:
        value = column.get(scores).value
        if math.isfinite(value):
            groups.setdefault((scores.dataset, scores.group), {})[scores.method] = value
    choose = min if column.better == "low" else max
    return {
        (*key, choose(values, key=values.__getitem__))
        for key, values in groups.items()
        if len(values) > 1
    }
