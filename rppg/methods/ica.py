"""ICA: the pulse as one of three independent sources."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.jade import jade
from rppg.methods.normalise import finite_clips, read_traces, relative_variation, without_rounding
from rppg.signals.filters import detrend
from rppg.signals.overlap_add import overlap_add, split_windows
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]

WINDOW_S = 30.0
LOW_HZ, HIGH_HZ = 0.75, 4.0
"""Where the pulse is looked for: 45 to 240 bpm."""


def ica(rgb: ArrayLike, fps: float) -> Array:
    """BVP `(..., T)` by independent component analysis, up at systole.

    Three mixtures are unmixed into three sources by JADE; the pulse is the source whose spectrum,
    brought to unit power, has the highest peak between 45 and 240 bpm::

        x_i = (C_i − μ_i) / σ_i,   x = A s                  C: detrended by smoothness priors

    A source has neither sign nor scale. Both are taken from what it contributes to green, which
    falls at systole: returned is −a_G s σ_G / mean(G), a_G its entry in A. As in the paper sources
    are sought in 30 s at a time; in a longer clip those windows overlap by half, Hann weighted. The
    paper's moving average and bandpass of the result are left to whoever takes the heart rate.

    Args:
        rgb: `(..., T, 3)` spatial means of the skin, any scale in each channel.
        fps: frame rate in Hz.

    Reference:
        Poh, McDuff, Picard, "Non-contact, automated cardiac pulse measurements using video imaging
        and blind source separation", Optics Express 18(10), 2010; the choice of the source and
        detrending from "Advancements in noncontact, multiparameter physiological measurements
        using a webcam", IEEE Trans. Biomed. Eng. 58(1), 2011.
    """
    trace = read_traces(rgb, fps)
    frames = trace.shape[-2]
    if frames < 3:
        return np.zeros(trace.shape[:-1])
    known, finite = finite_clips(trace)
    half = round(WINDOW_S * fps / 2)
    if frames <= 2 * half:
        pulse = _strongest_source(known, fps)
    else:
        pulse = overlap_add(_strongest_source(split_windows(known, half), fps), frames)
    return np.where(finite, without_rounding(pulse), np.nan)


def _strongest_source(trace: Array, fps: float) -> Array:
    """Minus the contribution to green `(..., T)` of the most pulse-like source of `(..., T, 3)`."""
    x = without_rounding(detrend(np.swapaxes(relative_variation(trace), -1, -2), fps))
    deviation = np.std(x, axis=-1, keepdims=True)
    sources, mixing = jade(x / np.where(deviation > 0, deviation, 1.0))
    frequencies, power = power_spectrum(sources, fps)
    total = np.sum(power, axis=-1)
    in_band = (frequencies >= LOW_HZ) & (frequencies <= HIGH_HZ)
    peak = np.max(power[..., in_band], axis=-1, initial=0.0) / np.where(total > 0, total, 1.0)
    best = np.argmax(peak, axis=-1)[..., None, None]
    source = np.take_along_axis(sources, best, axis=-2)[..., 0, :]
    in_green = np.take_along_axis(mixing, best, axis=-1)[..., 1, :] * deviation[..., 1, :]
    return np.asarray(-in_green * source)
