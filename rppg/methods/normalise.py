"""Input checks and normalisation of colour traces that the methods share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError

Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Relative variations below this are rounding errors: 8-bit video resolves about 1e-6."""


def read_traces(rgb: ArrayLike, fps: float) -> Array:
    """Return `rgb` as an array `(..., T, 3)` of floats.

    Raises:
        InputError: another shape, or a frame rate that is not positive.
    """
    trace = np.asarray(rgb, dtype=np.float64)
    if trace.ndim < 2 or trace.shape[-1] != 3:
        raise InputError(
            f"the traces have shape {trace.shape}; give (..., T, 3), time before red, green, blue "
            "(grey or infrared frames need a network with as many channels)"
        )
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"the frame rate is {fps} Hz; give a positive rate such as 30")
    return trace


def finite_clips(trace: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Replace clips of `(..., T, C)` that have a non-finite value by zeros.

    For decompositions of whole clips, which are undefined if a frame is missing.

    Returns:
        The clips, and whether each was finite, `(..., 1)`.
    """
    finite = np.all(np.isfinite(trace), axis=(-2, -1))[..., None]
    return np.where(finite[..., None], trace, 0.0), finite


def green_without(rgb: Array, nuisance: Array) -> Array:
    """Project a direction out of `rgb` and return minus the relative variation of green `(..., T)`.

    Args:
        rgb: `(..., T, 3)`.
        nuisance: the direction, `(..., 3)`, of length 1.
    """
    if rgb.shape[-2] == 0:
        return np.zeros(rgb.shape[:-1])
    component = (rgb @ nuisance[..., None])[..., 0]
    green = rgb[..., 1] - nuisance[..., 1:2] * component
    mean = np.mean(rgb[..., 1], axis=-1, keepdims=True)
    variation = green - np.mean(green, axis=-1, keepdims=True)
    return without_rounding(-variation / np.where(mean > 0, mean, 1.0))


def relative_variation(rgb: Array) -> Array:
    """Compute `C / mean(C) − 1` over the time axis of `(..., T, C)`; 0 for a black channel."""
    if rgb.shape[-2] == 0:
        return np.zeros_like(rgb)
    mean = np.mean(rgb, axis=-2, keepdims=True)
    return np.asarray(rgb / np.where(mean > 0, mean, 1.0) - (mean > 0))


def deviation_ratio(first: Array, second: Array) -> Array:
    """Compute `σ(first) / σ(second)` over the last axis, `(..., 1)`; 0 if `second` is constant."""
    divisor = np.std(second, axis=-1, keepdims=True)
    flat = divisor <= ROUNDING
    return np.where(flat, 0.0, np.std(first, axis=-1, keepdims=True) / np.where(flat, 1.0, divisor))


def without_rounding(x: Array) -> Array:
    """Replace rows of `(..., T)` whose deviation is only rounding error by exact zeros."""
    return np.where(np.std(x, axis=-1, keepdims=True) <= ROUNDING, 0.0, x)
