"""PBV: the BVP by the signature of the blood volume pulse."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import read_traces, relative_variation, without_rounding
from rppg.signals.overlap_add import add_half_overlapping, half_overlapping_windows

Array = NDArray[np.float64]

WINDOW_S = 1.6
SIGNATURE = np.array([0.33, 0.77, 0.53])
"""Relative amplitude of the pulse in R, G, B under white light, of length 1."""
LOADING = 1e-6
"""Diagonal loading, as a share of the mean variance: a clip without noise has a singular
covariance."""


def pbv(rgb: ArrayLike, fps: float, signature: ArrayLike = SIGNATURE) -> Array:
    """Estimate the BVP `(..., T)` by PBV, up at systole.

    In windows of 1.6 s, half overlapping and Hann weighted, the channels are combined with the
    weights that pass the signature p of the pulse with the least total power::

        W = k Q⁻¹ p,   Q = C_n C_nᵀ,   S = W · C_n            C_n = C / mean(C) − 1

    The paper sets k so that W has length 1. Here k = 1 / (pᵀQ⁻¹p), so that the pulse has gain 1 in
    every window. Reflected light falls at systole; the result is −S.

    Args:
        rgb: `(..., T, 3)` spatial means of the skin, any scale in each channel.
        fps: frame rate in Hz.
        signature: `(3,)`, amplitude of the pulse in each channel relative to its mean.

    Reference:
        de Haan, van Leest, "Improved motion robustness of remote-PPG by using the blood volume
        pulse signature", Physiol. Meas. 35(9), 2014.
    """
    trace = read_traces(rgb, fps)
    frames = trace.shape[-2]
    if frames < 2:
        return np.zeros(trace.shape[:-1])
    p = np.asarray(signature, dtype=np.float64)
    c = relative_variation(half_overlapping_windows(trace, int(np.ceil(WINDOW_S * fps / 2))))
    q = np.swapaxes(c, -1, -2) @ c / c.shape[-2]
    power = np.trace(q, axis1=-2, axis2=-1)[..., None, None] / 3
    q = q + LOADING * np.where(power > 0, power, 1.0) * np.eye(3)
    w = np.linalg.solve(q, np.broadcast_to(p[:, None], (*q.shape[:-1], 1)))
    s = (c @ (w / (p @ w)[..., None]))[..., 0]
    return add_half_overlapping(without_rounding(-s), frames)
