"""The steps of every bootstrap: draws within groups, and the interval of what they give."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def draw_counts(rng: np.random.Generator, groups: Sequence[str], resamples: int) -> Array:
    """Return how often each element is drawn, with replacement within its group.

    Args:
        rng: generator; groups draw from it in the order of their names.
        groups: `(N,)`, the group of each element.
        resamples: number of draws.

    Returns:
        `(resamples, N)`; each row sums to N, and within each group to its size.
    """
    counts = np.zeros((resamples, len(groups)))
    for name in sorted(set(groups)):
        inside = np.flatnonzero([group == name for group in groups])
        share = np.full(len(inside), 1 / len(inside))
        counts[:, inside] = rng.multinomial(len(inside), share, size=resamples)
    return counts


def percentile_interval(values: ArrayLike, *, defined: float = 0.0) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the finite values.

    Args:
        values: a statistic of each draw; NaN where the draw leaves it undefined.
        defined: least share of the draws that must have a value; otherwise both ends are NaN.
    """
    drawn = np.asarray(values, dtype=np.float64)
    finite = drawn[np.isfinite(drawn)]
    if len(finite) == 0 or len(finite) < defined * len(drawn):
        return np.nan, np.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
