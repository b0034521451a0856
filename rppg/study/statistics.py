"""Intervals over subjects and seeds, and what tables of many comparisons need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import isfinite, nan
from statistics import fmean, stdev

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ttest_1samp

from rppg.evaluation.resampling import draw_counts, percentile_interval

Array = NDArray[np.float64]

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


def bootstrap(
    values: ArrayLike,
    groups: Sequence[str],
    *,
    row_groups: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the mean over trials and subjects, with its bootstrap interval.

    Rows (trials) and columns (subjects) are resampled with replacement within their groups; a
    single row is not resampled. Each pair of a row group and a column group has the same weight;
    one without any value has none. NaN is left out.

    Args:
        values: `(trials, N)`.
        groups: `(N,)`, such as each subject's dataset.
        row_groups: `(trials,)`, such as each trial's training set; None: all in one.
        weights: `(trials, N)`, such as the number of windows behind each value; None: all equal.
        seed: of the resampling.
        resamples: their number.
    """
    own = row_groups if row_groups is not None else [""] * len(np.atleast_2d(values))
    rng = np.random.default_rng(seed)
    rows = draw_counts(rng, own, resamples)
    columns = draw_counts(rng, groups, resamples)
    observed, drawn = means_of_draws(values, groups, own, rows, columns, weights=weights)
    drawn = drawn[np.isfinite(drawn)]
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
    return Interval(observed, *percentile_interval(drawn), p)


def means_of_draws(
    values: ArrayLike,
    groups: Sequence[str],
    row_groups: Sequence[str],
    rows: Array,
    columns: Array,
    *,
    weights: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the mean over trials and subjects, and that of each draw of them.

    Args:
        values, groups, row_groups, weights: as of `bootstrap`.
        rows: `(resamples, trials)`, how often each trial is drawn; see `draw_counts`.
        columns: `(resamples, N)`, how often each subject is drawn. With the same columns, several
            methods are compared on the same draws of subjects.

    Returns:
        The mean, NaN without any value, and `(resamples,)`, NaN where a draw has left a group
        without a value.
    """
    d = np.atleast_2d(np.asarray(values, dtype=np.float64))
    finite = np.isfinite(d)
    weight = finite.astype(np.float64)
    if weights is not None:
        weight = np.where(finite, np.atleast_2d(np.asarray(weights, dtype=np.float64)), 0.0)
    value = np.where(finite, d, 0.0) * weight
    member, row_member = _members(groups), _members(row_groups)
    present = ((row_member.T @ weight) @ member > 0).ravel()

    def mean(row_weight: Array, column_weight: Array) -> Array:
        cells = []
        for inside in row_member.T:
            drawn = row_weight * inside
            total = ((drawn @ value) * column_weight) @ member
            count = ((drawn @ weight) * column_weight) @ member
            cells.append(total / np.where(count > 0, count, np.nan))
        return _mean_of_cells(np.concatenate(cells, axis=-1), present)

    observed = float(mean(np.ones((1, len(d))), np.ones((1, d.shape[1])))[0])
    return observed, mean(rows, columns)


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


def _members(groups: Sequence[str]) -> Array:
    """Return which group each element is in, `(N, groups)`, ones and zeros."""
    names = sorted(set(groups))
    return np.array([[group == name for name in names] for group in groups], dtype=np.float64)


def _mean_of_cells(cells: Array, present: NDArray[np.bool_]) -> Array:
    """Return the mean over the cells that have any value; NaN where a draw has left one empty."""
    if not present.any():
        return np.full(cells.shape[:-1], np.nan)
    return np.asarray(np.mean(cells[..., present], axis=-1))
