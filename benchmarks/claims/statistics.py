"""Errors by subject, paired differences with their intervals, Holm's correction, effects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import isfinite, nan
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ttest_1samp

from rppg.evaluation import metrics

Array = NDArray[np.float64]
Point = Mapping[str, Any]
"""Where a run was evaluated; its `targets` are as `targets.errors_on` gives them."""

Who = tuple[str, str]
"""Domain and subject."""

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, and the p-value of its being zero (two-sided)."""

    mean: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def mae(point: Point, target: str, among: Iterable[Who] | None = None) -> float:
    """Mean absolute error of a target's windows, in bpm; windows without an estimate are left out.

    Args:
        among: whose windows; everybody's if None.
    """
    true, predicted, subjects = _columns(point, target, among)
    return metrics.mae(true, predicted, subjects).value


def mean_mae(point: Point, targets: Iterable[str], among: Iterable[Who] | None = None) -> float:
    """Mean over targets of `mae`."""
    chosen = None if among is None else set(among)
    return fmean(mae(point, target, chosen) for target in targets)


def pearson(point: Point, target: str) -> float:
    """Correlation of predicted with true heart rates; NaN where it is undefined."""
    true, predicted, _ = _columns(point, target, None)
    return metrics.pearson(true, predicted).value


def coverage(point: Point, target: str) -> float:
    """Share of a target's windows with an estimate."""
    return float(np.mean(np.isfinite(_columns(point, target, None)[1])))


def guess_mae(point: Point, target: str, bpm: float) -> float:
    """Mean absolute error of guessing `bpm`, on the windows of a point."""
    true, _, _ = _columns(point, target, None)
    return float(np.nanmean(np.abs(true - bpm)))


def by_subject(point: Point, targets: Iterable[str]) -> dict[Who, float]:
    """Mean absolute error of each subject of each target; NaN without any estimate."""
    found: dict[Who, float] = {}
    for target in targets:
        true, predicted, subjects = _columns(point, target, None)
        error = np.abs(predicted - true)
        for subject in dict.fromkeys(subjects):
            own = error[[s == subject for s in subjects]]
            own = own[np.isfinite(own)]
            found[target, subject] = float(np.mean(own)) if len(own) else np.nan
    return found


def stack(runs: Sequence[Mapping[Who, float]]) -> tuple[Array, list[str]]:
    """Errors `(runs, N)` of the subjects that all runs share, and each one's domain."""
    people = [who for who in runs[0] if all(who in run for run in runs)]
    return np.array([[run[who] for who in people] for run in runs]), [who[0] for who in people]


def bootstrap(differences: ArrayLike, groups: Sequence[str], *, seed: int = 0) -> Interval:
    """Mean difference, over runs and over groups, and its bootstrap over runs and subjects.

    Runs (rows) and, within each group, subjects (columns) are drawn anew, both with replacement; a
    single row stays. Groups weigh the same. What is NaN is left out.

    Args:
        differences: `(runs, N)`.
        groups: `(N,)`, such as the domain.
        seed: of the draws.
    """
    d = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    there = np.isfinite(d)
    value = np.where(there, d, 0.0)
    names = sorted(set(groups))
    member = np.array([[group == name for name in names] for group in groups], dtype=np.float64)
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(len(d), np.full(len(d), 1 / len(d)), size=RESAMPLES)
    people = np.zeros((RESAMPLES, d.shape[1]))
    for column in member.T:
        inside = np.flatnonzero(column)
        share = np.full(len(inside), 1 / len(inside))
        people[:, inside] = rng.multinomial(len(inside), share, size=RESAMPLES)

    def mean(row_weight: Array, weight: Array) -> Array:
        total = ((row_weight @ value) * weight) @ member
        count = ((row_weight @ there) * weight) @ member
        return np.mean(total / np.where(count > 0, count, np.nan), axis=-1)

    here = float(mean(np.ones((1, len(d))), np.ones((1, d.shape[1])))[0])
    drawn = mean(rows.astype(np.float64), people)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return Interval(here, float(low), float(high), min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


def student(differences: Sequence[float]) -> Interval:
    """Mean of two or more differences, with Student's interval and p-value.

    Those that are not finite are left out; where fewer than two are left, nothing is known.
    """
    if len(differences) < 2:
        raise ValueError(f"expected two or more differences, found {len(differences)}")
    known = [value for value in differences if isfinite(value)]
    if len(known) < 2:
        return Interval(nan, nan, nan, 1.0)
    mean = fmean(known)
    if stdev(known) == 0:
        return Interval(mean, mean, mean, 0.0 if mean else 1.0)
    found = ttest_1samp(known, 0.0)
    low, high = found.confidence_interval(0.95)
    return Interval(mean, float(low), float(high), float(found.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in their order.

    Reference: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.zeros(len(p_values))
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return [float(p) for p in corrected]


def settings_of(levels: Sequence[str]) -> list[tuple[str, ...]]:
    """Every on/off setting of the levels, as those that are on, in their order."""
    sizes = range(len(levels) + 1)
    return list(chain.from_iterable(combinations(levels, size) for size in sizes))


def level_effect(found: Mapping[tuple[str, ...], Array], level: str) -> Array:
    """On less off, pair by pair, averaged over the settings of the other levels.

    Args:
        found: of each setting (the levels that are on, in a fixed order), an array whose first
            axis is the seed.
        level: which one.
    """
    pairs = [(on, tuple(name for name in on if name != level)) for on in found if level in on]
    return np.mean([found[on] - found[off] for on, off in pairs], axis=0)


def _columns(
    point: Point, target: str, among: Iterable[Who] | None
) -> tuple[Array, Array, list[str]]:
    windows = point["targets"][target]
    chosen = None if among is None else {subject for name, subject in among if name == target}
    keep = [chosen is None or subject in chosen for subject in windows["subject"]]
    true = np.array(windows["true_bpm"], dtype=np.float64)[keep]
    predicted = np.array(windows["pred_bpm"], dtype=np.float64)[keep]
    return true, predicted, [s for s, k in zip(windows["subject"], keep, strict=True) if k]
