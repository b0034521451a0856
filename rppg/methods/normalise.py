"""What the methods share: traces as they come in, and variation relative to the mean."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError

Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Relative variations below this are rounding, not light: 8-bit video resolves about 1e-6."""


def read_traces(rgb: ArrayLike, fps: float) -> Array:
    """`rgb` as an array `(..., T, 3)` of floats.

    Raises:
        InputError: no axis of time before three channels; a rate that is not positive.
    """
    trace = np.asarray(rgb, dtype=np.float64)
    if trace.ndim < 2 or trace.shape[-1] != 3:
        raise InputError(
            f"the traces have shape {trace.shape}; give (..., T, 3), time before red, green, blue "
            "(grey or infrared pictures are for a network of as many channels)"
        )
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"the frame rate is {fps} Hz; give a positive rate such as 30")
    return trace


def finite_clips(trace: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Clips `(..., T, C)` with zeros for those that are not finite throughout, and which those are
    `(..., 1)`: a decomposition of the whole clip has no answer where a frame is missing."""
    finite = np.all(np.isfinite(trace), axis=(-2, -1))[..., None]
    return np.where(finite[..., None], trace, 0.0), finite


def green_left_over(rgb: Array, nuisance: Array) -> Array:
    """Minus the relative variation of green `(..., T)` in `rgb` `(..., T, 3)` once the direction
    `nuisance` `(..., 3)`, of length 1, is projected out."""
    if rgb.shape[-2] == 0:
        return np.zeros(rgb.shape[:-1])
    along = (rgb @ nuisance[..., None])[..., 0]
    green = rgb[..., 1] - nuisance[..., 1:2] * along
    mean = np.mean(rgb[..., 1], axis=-1, keepdims=True)
    varies = green - np.mean(green, axis=-1, keepdims=True)
    return without_rounding(-varies / np.where(mean > 0, mean, 1.0))


def relative_variation(rgb: Array) -> Array:
    """`C / mean(C) − 1` over the time axis of `(..., T, C)`; 0 for a channel that is black."""
    if rgb.shape[-2] == 0:
        return np.zeros_like(rgb)
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
