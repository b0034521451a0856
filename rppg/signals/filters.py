"""Detrending by smoothness priors, and the zero-phase bandpass filter of the pulse.

Both work along the last axis, `(..., T)` → `(..., T)`. A row that has a NaN becomes all NaN; the
other rows are not affected.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solveh_banded

from rppg.errors import InputError
from rppg.signals.butterworth import bandpass_sections, filter_both_ways

Array = NDArray[np.float64]

LAMBDA_AT_30_HZ = 100.0
LOW_HZ, HIGH_HZ = 0.6, 3.3
"""The band of the pulse: 36 to 198 bpm."""


def detrend(x: ArrayLike, fps: float) -> Array:
    """Remove the slow trend: `z = x − (I + λ² D₂ᵀD₂)⁻¹ x`, D₂ the second difference.

    The filter halves a component where `λ (2πf / fps)² = 1`. λ = 100 at 30 Hz is customary and puts
    that cutoff at 0.48 Hz; λ = 100 (fps / 30)² keeps it there at any rate. A residual that is
    rounding error only, as of a straight line, is returned as exact zeros.

    Args:
        x: `(..., T)`, any units.
        fps: sampling rate in Hz.

    Reference:
        Tarvainen, Ranta-aho, Karjalainen, "An advanced detrending method with application to HRV
        analysis", IEEE Trans. Biomed. Eng. 49(2), 2002, eq. 11.
    """
    signal = np.asarray(x, dtype=np.float64)
    shifted = signal - signal[..., :1]
    n = signal.shape[-1]
    if n < 3:
        return np.zeros_like(shifted)
    smoothing = LAMBDA_AT_30_HZ * (fps / 30.0) ** 2
    rows = shifted.reshape(-1, n)
    trend = solveh_banded(
        _bands(n, smoothing**2), rows.T, lower=True, overwrite_b=False, check_finite=False
    )
    z = rows - trend.T
    largest = [np.max(np.abs(y), axis=-1, keepdims=True, initial=0) for y in (z, rows, signal)]
    is_rounding = largest[0] <= np.maximum(1e-7 * largest[1], 1e-12 * largest[2].reshape(-1, 1))
    z = np.where(is_rounding, 0.0, z)
    return np.asarray(z.reshape(signal.shape))


def bandpass(
    x: ArrayLike, fps: float, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ, order: int = 2
) -> Array:
    """Apply a zero-phase Butterworth bandpass (forward and backward), `(..., T)` → `(..., T)`.

    The ends are extended by odd reflection over one period of `low_hz`.

    Raises:
        InputError: the band does not fit below half the sampling rate.
    """
    if not 0 < low_hz < high_hz < fps / 2:
        raise InputError(
            f"the band {low_hz}–{high_hz} Hz must be increasing and below half the sampling rate "
            f"of {fps:g} Hz; record at a higher frame rate or narrow the band"
        )
    signal = np.asarray(x, dtype=np.float64)
    n = signal.shape[-1]
    if n < 2 or signal.size == 0:
        return np.zeros_like(signal)
    sections = bandpass_sections(order, low_hz, high_hz, fps)
    padding = min(n - 1, round(fps / low_hz))
    shifted = signal - signal[..., :1]
    return filter_both_ways(sections, shifted, padding)


def _bands(n: int, weight: float) -> Array:
    """Return the lower bands `(3, n)` of `I + weight · D₂ᵀD₂`, for `solveh_banded`."""
    bands = np.zeros((3, n))
    bands[0, :-2] += 1
    bands[0, 1:-1] += 4
    bands[0, 2:] += 1
    bands[1, : n - 2] -= 2
    bands[1, 1 : n - 1] -= 2
    bands[2, : n - 2] = 1
    bands *= weight
    bands[0] += 1
    return bands
