"""What the methods share: a channel's variation relative to its mean over an interval."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Relative variations below this are rounding, not light: 8-bit video resolves about 1e-6."""


def relative_variation(rgb: Array) -> Array:
    """`C / mean(C) − 1` over the time axis of `(..., T, C)`; 0 for a channel that is black."""
    mean = np.mean(rgb, axis=-2, keepdims=True)
    return np.asarray(rgb / np.where(mean > 0, mean, 1.0) - (mean > 0))


def deviation_ratio(first: Array, second: Array) -> Array:
    """`σ(first) / σ(second)` over the last axis, kept as an axis of 1; 0 where `second` is flat."""
    over = np.std(second, axis=-1, keepdims=True)
    flat = over <= ROUNDING
    return np.where(flat, 0.0, np.std(first, axis=-1, keepdims=True) / np.where(flat, 1.0, over))


def without_rounding(x: Array) -> Array:
    """Rows `(..., T)` whose deviation is mere rounding become exact zeros."""
    return np.where(np.std(x, axis=-1, keepdims=True) <= ROUNDING, 0.0, x)
