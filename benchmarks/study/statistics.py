"""Errors by subject of the benchmarks' trials, and paired differences with intervals.

What holds for any study is `rppg.study.statistics`, whose names are here, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.evaluation import metrics
from rppg.study.statistics import (
    Interval,
    bootstrap,
    holm,
    level_effect,
    settings_of,
    student,
)

__all__ = [
    "Interval",
    "bootstrap",
    "by_subject",
    "coverage",
    "guess_mae",
    "holm",
    "level_effect",
    "mae",
    "mean_mae",
    "paired_difference",
    "pearson",
    "settings_of",
    "stack",
    "student",
    "subject_means",
]

Array = NDArray[np.float64]
Point = Mapping[str, Any]
"""One evaluation within a trial; its `targets` are as `predict_windows` returns them."""

Subject = tuple[str, str]
"""Domain and name."""


def mae(
    point: Point,
    target: str,
    among: Iterable[Subject] | None = None,
    *,
    estimates: str = "pred_bpm",
) -> float:
    """Return the mean absolute error in bpm of a target's windows that have an estimate.

    Args:
        among: subjects whose windows count; all of them if None.
        estimates: name of the column that is compared with the truth.
    """
    true, predicted, subjects = _columns(point, target, among, estimates)
    return metrics.mae(true, predicted, subjects).value


def mean_mae(point: Point, targets: Iterable[str], among: Iterable[Subject] | None = None) -> float:
    """Return the mean of `mae` over targets."""
    chosen = None if among is None else set(among)
    return fmean(mae(point, target, chosen) for target in targets)


def pearson(point: Point, target: str) -> float:
    """Return the correlation of predicted and true heart rates; NaN where it is undefined."""
    true, predicted, _ = _columns(point, target, None)
    return metrics.pearson(true, predicted).value


def coverage(point: Point, target: str) -> float:
    """Return the share of a target's windows with an estimate."""
    return float(np.mean(np.isfinite(_columns(point, target, None)[1])))


def guess_mae(point: Point, target: str, bpm: float) -> float:
    """Return the mean absolute error of guessing `bpm`, on the windows of a point."""
    true, _, _ = _columns(point, target, None)
    return float(np.nanmean(np.abs(true - bpm)))


def by_subject(point: Point, targets: Iterable[str]) -> dict[Subject, float]:
    """Return the mean absolute error of each subject; NaN without any estimate."""
    errors: dict[Subject, float] = {}
    for target in targets:
        true, predicted, subjects = _columns(point, target, None)
        error = np.abs(predicted - true)
        for subject in dict.fromkeys(subjects):
            own = error[[s == subject for s in subjects]]
            own = own[np.isfinite(own)]
            errors[target, subject] = float(np.mean(own)) if len(own) else np.nan
    return errors


def subject_means(point: Point, targets: Iterable[str], column: str) -> dict[Subject, float]:
    """Return each subject's mean of a column, such as `snr_db`; NaN without any value."""
    means: dict[Subject, float] = {}
    for target in targets:
        windows = point["targets"][target]
        values = np.array(windows[column], dtype=np.float64)
        for subject in dict.fromkeys(windows["subject"]):
            own = values[[s == subject for s in windows["subject"]]]
            own = own[np.isfinite(own)]
            means[target, subject] = float(np.mean(own)) if len(own) else np.nan
    return means


def stack(trials: Sequence[Mapping[Subject, float]]) -> tuple[Array, list[str]]:
    """Return errors `(trials, N)` of the subjects that all trials share, and their domains."""
    shared = [subject for subject in trials[0] if all(subject in trial for trial in trials)]
    errors = np.array([[trial[subject] for subject in shared] for trial in trials])
    return errors, [domain for domain, _ in shared]


def paired_difference(
    pairs: Sequence[tuple[Mapping[Subject, float] | None, Mapping[Subject, float] | None]],
    above: float = 0.0,
) -> Interval | None:
    """Return the mean of ours less theirs with its interval; None if no pair is whole.

    Args:
        pairs: ours and theirs by subject, trial by trial; a pair with None is left out.
        above: what the p-value is against.
    """
    whole = [side for a, b in pairs if a is not None and b is not None for side in (a, b)]
    if not whole:
        return None
    values, groups = stack(whole)
    found = bootstrap(values[0::2] - values[1::2] - above, groups)
    return Interval(found.mean + above, found.low + above, found.high + above, found.p)


def _columns(
    point: Point, target: str, among: Iterable[Subject] | None, estimates: str = "pred_bpm"
) -> tuple[Array, Array, list[str]]:
    windows = point["targets"][target]
    chosen = None if among is None else {subject for name, subject in among if name == target}
    keep = [chosen is None or subject in chosen for subject in windows["subject"]]
    true = np.array(windows["true_bpm"], dtype=np.float64)[keep]
    predicted = np.array(windows[estimates], dtype=np.float64)[keep]
    return true, predicted, [s for s, k in zip(windows["subject"], keep, strict=True) if k]
