"""CHROM: the BVP from two chrominance signals."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import (
    deviation_ratio,
    read_traces,
    relative_variation,
    without_rounding,
)
from rppg.signals.filters import bandpass
from rppg.signals.overlap_add import add_half_overlapping, half_overlapping_windows

Array = NDArray[np.float64]

WINDOW_S = 1.6
LOW_HZ, HIGH_HZ = 40 / 60, 240 / 60
X = np.array([3.0, -2.0, 0.0])
Y = np.array([1.5, 1.0, -1.5])
"""Chrominance signals of the skin tone under white light (eq. 9)."""


def chrom(rgb: ArrayLike, fps: float) -> Array:
    """Estimate the BVP `(..., T)` by CHROM, up at systole.

    In windows of 1.6 s, half overlapping and Hann weighted::

        X_s = 3 R_n − 2 G_n,   Y_s = 1.5 R_n + G_n − 1.5 B_n        C_n = C / mean(C)
        S   = X_f − σ(X_f) / σ(Y_f) · Y_f                           f: bandpass, 40–240 bpm

    The clip is extended by reflection, so that its ends are also covered by two windows. The
    bandpass is a zero-phase Butterworth of order 3, its upper edge below half the frame rate.

    Args:
        rgb: `(..., T, 3)` spatial means of the skin, any scale in each channel.
        fps: frame rate in Hz.

    Reference:
        de Haan, Jeanne, "Robust pulse rate from chrominance-based rPPG", IEEE Trans. Biomed.
        Eng. 60(10), 2013.
    """
    trace = read_traces(rgb, fps)
    frames = trace.shape[-2]
    if frames < 2:
        return np.zeros(trace.shape[:-1])
    normalised = relative_variation(
        half_overlapping_windows(trace, int(np.ceil(WINDOW_S * fps / 2)))
    )
    band = (LOW_HZ, min(HIGH_HZ, 0.45 * fps))
    x, y = (bandpass(without_rounding(normalised @ axis), fps, *band, order=3) for axis in (X, Y))
    return add_half_overlapping(without_rounding(x - deviation_ratio(x, y) * y), frames)
