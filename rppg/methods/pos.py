"""POS: the BVP in the plane orthogonal to the skin tone."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import (
    deviation_ratio,
    read_traces,
    relative_variation,
    without_rounding,
)

Array = NDArray[np.float64]

WINDOW_S = 1.6
PROJECTION = np.array([[0.0, 1.0, -1.0], [-2.0, 1.0, 1.0]])
"""Axes of the plane orthogonal to (1, 1, 1), the direction of intensity (eq. 10, 30)."""


def pos(rgb: ArrayLike, fps: float) -> Array:
    """Estimate the BVP `(..., T)` by POS, up at systole.

    In each window of 1.6 s, one for each frame (Algorithm 1)::

        C_n = C / mean(C)
        S   = P · C_n                   S₁ = G − B,  S₂ = G + B − 2R
        h   = S₁ + σ(S₁) / σ(S₂) · S₂
        H  += h − mean(h)               overlap-add

    The paper's H follows the reflected light, which falls at systole; the result is −H. A clip
    shorter than 1.6 s is one window.

    Args:
        rgb: `(..., T, 3)` spatial means of the skin, any scale in each channel.
        fps: frame rate in Hz.

    Reference:
        Wang, den Brinker, Stuijk, de Haan, "Algorithmic principles of remote PPG", IEEE Trans.
        Biomed. Eng. 64(7), 2017.
    """
    trace = read_traces(rgb, fps)
    frames = trace.shape[-2]
    length = min(int(np.ceil(WINDOW_S * fps)), frames)
    if length == 0:
        return np.zeros(trace.shape[:-1])
    windows = np.moveaxis(sliding_window_view(trace, length, axis=-2), -1, -2)
    s = relative_variation(windows) @ PROJECTION.T
    first, second = s[..., 0], s[..., 1]
    h = without_rounding(first + deviation_ratio(first, second) * second)
    h -= np.mean(h, axis=-1, keepdims=True)
    out = np.zeros(trace.shape[:-1])
    starts = h.shape[-2]
    for k in range(length):
        out[..., k : k + starts] -= h[..., k]
    return out
