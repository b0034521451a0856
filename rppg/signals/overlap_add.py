"""Overlap-add of windows that overlap by half, under a Hann window.

Two Hann windows that overlap by half sum to one.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rppg.signals.hann import hann_window

Array = NDArray[np.float64]


def half_overlapping_windows(trace: Array, half: int) -> Array:
    """Split a trace `(..., T, C)`, T ≥ 2, into windows `(..., K, 2 half, C)`, one every `half`.

    The trace is extended by reflection, so that its ends are also covered by two windows.
    """
    frames = trace.shape[-2]
    count = int(np.ceil(frames / half)) + 1
    padding = [(0, 0)] * (trace.ndim - 2) + [(half, count * half - frames), (0, 0)]
    padded = np.pad(trace, padding, mode="reflect")
    windows = sliding_window_view(padded, 2 * half, axis=-2)[..., ::half, :, :]
    return np.moveaxis(windows, -1, -2)


def add_half_overlapping(windows: Array, frames: int) -> Array:
    """Return the signal `(..., frames)` of windows `(..., K, 2 half)`, each minus its mean."""
    count, length = windows.shape[-2:]
    half = length // 2
    parts = windows - np.mean(windows, axis=-1, keepdims=True)
    parts = parts * hann_window(length)
    out = np.zeros((*windows.shape[:-2], (count + 1) * half))
    for k in range(count):
        out[..., k * half : (k + 2) * half] += parts[..., k, :]
    return out[..., half : half + frames]
