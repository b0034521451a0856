"""Paired differences over seeds, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import t as student


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Args:
        mean: of the differences.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`"helps"` or `"harms"` if the interval excludes zero, otherwise `"unclear"`."""
        if self.low > 0:
            return "helps"
        return "harms" if self.high < 0 else "unclear"


def paired_gain(
    values: Sequence[float],
    baseline: Sequence[float],
    *,
    higher_is_better: bool,
    confidence: float = 0.95,
) -> Interval:
    r"""Return Student's interval of the mean gain over a baseline, seed by seed.

    .. math::
        \bar d \pm t_{n-1}\, s_d / \sqrt n, \qquad d_i = \pm (values_i - baseline_i)

    with the sign that makes a gain positive.

    Args:
        values: one per seed.
        baseline: for the same seeds, in the same order.
        higher_is_better: the metric's direction.
        confidence: coverage of the interval.

    Raises:
        ValueError: fewer than two pairs, or lists of different lengths.
    """
    if len(values) != len(baseline) or len(values) < 2:
        raise ValueError(
            f"expected two or more pairs, found {len(values)} values and {len(baseline)} of the "
            "baseline: run both on the same seeds"
        )
    sign = 1.0 if higher_is_better else -1.0
    gains = [sign * (v - b) for v, b in zip(values, baseline, strict=True)]
    mean, n = fmean(gains), len(gains)
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * stdev(gains) / sqrt(n)
    return Interval(mean, mean - half, mean + half)
