"""A cleaner pulse wave: only what lies near the local heart rate and its second harmonic."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPAN_S = 5.0
HOPS = 8
"""Spans overlap so that this many cover each sample."""
SEARCH_HZ = 0.35
WIDTH_HZ = 0.15
SECOND = 0.7
"""Gain of the second harmonic, which carries the dicrotic notch but less of a camera's signal."""
FINENESS = 4


def refine(bvp: Array, rate_hz: Array, fps: float) -> Array:
    """Take from a BVP what is far from the local heart rate and from twice that.

    In overlapping spans of `SPAN_S`, the strongest line within `SEARCH_HZ` of the known rate is
    found, and the spectrum weighed by two Gaussians of deviation `WIDTH_HZ` around it and its
    double; the spans are added up again. Where the rate is not known the wave stays as it is:
    noise must not be made to look like a pulse. Beat-to-beat changes faster than `WIDTH_HZ` are
    smoothed, so heart rate variability is to be read off the wave as it was.

    Args:
        bvp: `(T,)`, filtered to the pulse's band.
        rate_hz: `(T,)` heart rate around each sample, NaN where it is not known.
        fps: sampling rate in Hz.

    Returns:
        `(T,)`.
    """
    length = min(round(SPAN_S * fps), len(bvp))
    hop = max(1, length // HOPS)
    pad = length + (-len(bvp)) % hop  # spans end where the padded wave does
    wave = np.pad(bvp, (length, pad), mode="symmetric" if pad <= len(bvp) else "edge")
    known = np.pad(rate_hz, (length, pad), mode="edge")
    window = np.hanning(length + 2)[1:-1]
    spans = sliding_window_view(wave, length)[::hop] * window
    spectra = np.fft.rfft(spans, FINENESS * length)
    hz = np.fft.rfftfreq(FINENESS * length, 1 / fps)
    rates = sliding_window_view(known, length)[::hop]
    told = np.isfinite(rates).mean(1) > 0.5
    guide = np.full(len(rates), np.nan)
    guide[told] = np.nanmedian(rates[told], axis=1)
    near = np.abs(hz - guide[:, None]) <= SEARCH_HZ
    at_hz = hz[np.argmax(np.where(near, np.abs(spectra), -1.0), axis=1)][:, None]
    gain = np.exp(-0.5 * ((hz - at_hz) / WIDTH_HZ) ** 2)
    gain = np.minimum(gain + SECOND * np.exp(-0.5 * ((hz - 2 * at_hz) / WIDTH_HZ) ** 2), 1.0)
    gain[~told] = 1.0
    cleaned = np.fft.irfft(spectra * gain, FINENESS * length)[:, :length] * window
    total, weight = np.zeros(len(wave)), np.zeros(len(wave))
    for start, span in zip(range(0, len(wave), hop), cleaned, strict=False):
        total[start : start + length] += span
        weight[start : start + length] += window**2
    inside = slice(length, length + len(bvp))
    return np.asarray(total[inside] / weight[inside])
