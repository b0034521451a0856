"""ICA: the BVP as one of three independent sources."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.jade import jade
from rppg.methods.normalise import finite_clips, read_traces, relative_variation, without_rounding
from rppg.signals.filters import detrend
from rppg.signals.overlap_add import add_half_overlapping, half_overlapping_windows
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]

WINDOW_S = 30.0
LOW_HZ, HIGH_HZ = 0.75, 4.0
"""The band that is searched for the pulse: 45 to 240 bpm."""


def ica(rgb: ArrayLike, fps: float) -> Array:
    """Estimate the BVP `(..., T)` by independent component analysis, up at systole.

    JADE separates the three channels into three sources. The pulse is the source whose spectrum,
    normalised to unit power, has the highest peak between 45 and 240 bpm::

        x_i = (C_i − μ_i) / σ_i,   x = A s                  C: detrended by smoothness priors

    The sign and scale of a source are undefined. They are set by its contribution to green, which
    falls at systole: the result is −a_G s σ_G / mean(G), with a_G its entry in A. As in the paper,
    sources are separated in windows of 30 s; in a longer clip they overlap by half, Hann weighted.
    The paper's moving average and bandpass of the result are not applied.

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
    filled, finite = finite_clips(trace)
    half = round(WINDOW_S * fps / 2)
    if frames <= 2 * half:
        pulse = _pulse_source(filled, fps)
    else:
        pulse = add_half_overlapping(
            _pulse_source(half_overlapping_windows(filled, half), fps), frames
        )
    return np.where(finite, without_rounding(pulse), np.nan)


def _pulse_source(trace: Array, fps: float) -> Array:
    """Return minus the contribution `(..., T)` to green of the most periodic source of a trace."""
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
