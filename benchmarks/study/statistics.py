"""Errors by subject, paired differences with intervals, Holm's correction, level effects."""

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
"""One evaluation within a trial; its `targets` are as `predict_windows` returns them."""

Subject = tuple[str, str]
"""Domain and name."""

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


def bootstrap(differences: ArrayLike, groups: Sequence[str], *, seed: int = 0) -> Interval:
    """Return the mean difference over trials and groups, with its bootstrap interval.

    Trials (rows) and, within each group, subjects (columns) are resampled with replacement; a
    single row is not resampled. Groups have equal weights. NaN is left out.

    Args:
        differences: `(trials, N)`.
        groups: `(N,)`, such as each subject's domain.
        seed: of the resampling.
    """
    d = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    finite = np.isfinite(d)
    value = np.where(finite, d, 0.0)
    names = sorted(set(groups))
    member = np.array([[group == name for name in names] for group in groups], dtype=np.float64)
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(len(d), np.full(len(d), 1 / len(d)), size=RESAMPLES)
    columns = np.zeros((RESAMPLES, d.shape[1]))
    for column in member.T:
        inside = np.flatnonzero(column)
        share = np.full(len(inside), 1 / len(inside))
        columns[:, inside] = rng.multinomial(len(inside), share, size=RESAMPLES)

    def mean(row_weight: Array, weight: Array) -> Array:
        total = ((row_weight @ value) * weight) @ member
        count = ((row_weight @ finite) * weight) @ member
        return np.mean(total / np.where(count > 0, count, np.nan), axis=-1)

    observed = float(mean(np.ones((1, len(d))), np.ones((1, d.shape[1])))[0])
    drawn = mean(rows.astype(np.float64), columns)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return Interval(observed, float(low), float(high), min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


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


def student(differences: Sequence[float]) -> Interval:
    """Return the mean of two or more differences, with Student's interval and p-value.

    Those that aren't finite are left out. If fewer than two are left, the mean is NaN.
    """
    if len(differences) < 2:
        raise ValueError(f"expected two or more differences, found {len(differences)}")
    finite = [value for value in differences if isfinite(value)]
    if len(finite) < 2:
        return Interval(nan, nan, nan, 1.0)
    mean = fmean(finite)
    if stdev(finite) == 0:
        return Interval(mean, mean, mean, 0.0 if mean else 1.0)
    test = ttest_1samp(finite, 0.0)
    low, high = test.confidence_interval(0.95)
    return Interval(mean, float(low), float(high), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in their order.

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
    """Return every on/off setting of the levels, each as the levels that are on."""
    sizes = range(len(levels) + 1)
    return list(chain.from_iterable(combinations(levels, size) for size in sizes))


def level_effect(values: Mapping[tuple[str, ...], Array], level: str) -> Array:
    """Return on minus off, pair by pair, averaged over the settings of the other levels.

    Args:
        values: for each setting (the levels that are on, in a fixed order), an array whose first
            axis is the seed.
        level: the one that is switched.
    """
    pairs = [(on, tuple(name for name in on if name != level)) for on in values if level in on]
    return np.mean([values[on] - values[off] for on, off in pairs], axis=0)


def _columns(
    point: Point, target: str, among: Iterable[Subject] | None, estimates: str = "pred_bpm"
) -> tuple[Array, Array, list[str]]:
    windows = point["targets"][target]
    chosen = None if among is None else {subject for name, subject in among if name == target}
    keep = [chosen is None or subject in chosen for subject in windows["subject"]]
    true = np.array(windows["true_bpm"], dtype=np.float64)[keep]
    predicted = np.array(windows[estimates], dtype=np.float64)[keep]
    return true, predicted, [s for s, k in zip(windows["subject"], keep, strict=True) if k]
