"""Times that are far off the others: a stray file's, or a clock's that was not set yet."""

import numpy as np
from numpy.typing import NDArray

MOST_GAP_S = 600.0
"""Times on both sides of a longer gap don't belong to one recording."""


def far_off(times_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which times are far off: more than `MOST_GAP_S` from those of the majority.

    None if no majority lies together, as when the times have another unit. NaN counts as none.
    """
    finite = np.isfinite(times_s)
    if not finite.any():
        return np.zeros(times_s.shape, dtype=np.bool_)
    order = np.sort(times_s[finite])
    edges = np.flatnonzero(np.diff(order) > MOST_GAP_S) + 1
    groups = np.split(order, edges)
    largest = max(groups, key=len)
    if 2 * len(largest) <= len(order):
        return np.zeros(times_s.shape, dtype=np.bool_)
    return np.asarray(finite & ((times_s < largest[0]) | (times_s > largest[-1])))
