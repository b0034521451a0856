"""Half-overlapping windows under a Hann window, which add up to one where two of them meet."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import get_window

Array = NDArray[np.float64]


def split_windows(trace: Array, half: int) -> Array:
    """Windows `(..., K, 2 half, C)` of `(..., T, C)`, T ≥ 2, each `half` after the one before.

    The trace is extended by reflection, so that its ends are covered by two windows like the rest.
    """
    frames = trace.shape[-2]
    count = int(np.ceil(frames / half)) + 1
    padding = [(0, 0)] * (trace.ndim - 2) + [(half, count * half - frames), (0, 0)]
    padded = np.pad(trace, padding, mode="reflect")
    windows = sliding_window_view(padded, 2 * half, axis=-2)[..., ::half, :, :]
    return np.moveaxis(windows, -1, -2)


def overlap_add(windows: Array, frames: int) -> Array:
    """The signal `(..., frames)` from its windows `(..., K, 2 half)`, each less its mean."""
    count, length = windows.shape[-2:]
    half = length // 2
    parts = windows - np.mean(windows, axis=-1, keepdims=True)
    parts = parts * get_window("hann", length)
    out = np.zeros((*windows.shape[:-2], (count + 1) * half))
    for k in range(count):
        out[..., k * half : (k + 2) * half] += parts[..., k, :]
    return out[..., half : half + frames]
