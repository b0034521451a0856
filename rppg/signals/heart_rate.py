"""Heart rate of a pulse signal: the peak of its power spectrum."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]

LEAST_SHARE, LEAST_POWER = 0.7, 0.3
"""A peak at twice a slow rate gives way to the slow rate if the rate's first four harmonics hold
this share of the power, and its line this share of the peak's. A filter from 0.6 Hz on takes seven
eighths of the power of a pulse of 36 bpm, and little of its double's."""
HARMONIC_HZ = 0.12
SLACK_HZ, SLOWEST = 0.02, 1.35
"""A slow rate lies at most this far below the band, and below this multiple of its low end."""


def heart_rate_bpm(
    x: ArrayLike, fps: float, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Array:
    """Compute the heart rate in bpm `(...)`: the highest local maximum of the spectrum in the band.

    If it is the double of a slow rate at the low end of the band, the heart rate is the slow one: a
    filter weakens the first harmonic most. The peak is refined by the parabola through it and its
    two neighbours. NaN where there is no peak: a constant or non-finite signal, or a spectrum that
    only rises or falls within the band.

    Args:
        x: `(..., T)`, a BVP, any units.
        fps: sampling rate in Hz.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
    """
    signal = np.asarray(x, dtype=np.float64)
    if signal.shape[-1] < 3:
        return np.full(signal.shape[:-1], np.nan)
    frequencies, power = power_spectrum(signal, fps)
    peak_hz = peak_frequency_hz(frequencies, power, low_hz, high_hz)
    return halve_doubled(frequencies, power, peak_hz, low_hz, high_hz) * 60.0


def halve_doubled(
    frequencies: Array, power: Array, peak_hz: Array, low_hz: float, high_hz: float
) -> Array:
    """Return the peaks `(...)` in Hz, halved where they are the second harmonic of a slow rate."""
    bin_hz = frequencies[1] - frequencies[0]
    rows = (peak_hz / 2 >= low_hz - SLACK_HZ) & (peak_hz / 2 <= SLOWEST * low_hz)
    peak, spectrum = peak_hz[rows], power[rows]
    near_half = np.abs(frequencies - peak[:, None] / 2) <= HARMONIC_HZ / 2
    slow = peak_frequency_hz(
        frequencies, np.where(near_half, spectrum, 0.0), low_hz - SLACK_HZ, high_hz
    )
    slow = np.where(np.abs(slow - peak / 2) < HARMONIC_HZ / 2 - bin_hz, slow, np.nan)  # no slope

    def at(hz: Array) -> Array:
        index = np.nan_to_num(hz / bin_hz).round().astype(int)[:, None]
        return np.take_along_axis(spectrum, index, -1)[:, 0]

    harmonic = np.clip(np.round(frequencies / slow[:, None]), 1, 4)
    near = np.abs(frequencies - harmonic * slow[:, None]) <= HARMONIC_HZ
    in_band = (frequencies >= low_hz - HARMONIC_HZ) & (frequencies <= high_hz)
    total = np.sum(spectrum * in_band, axis=-1)
    share = np.sum(spectrum * (near & in_band), axis=-1) / np.where(total > 0, total, np.nan)
    doubled = (at(slow) >= LEAST_POWER * at(peak)) & (share >= LEAST_SHARE)
    rates_hz = peak_hz.copy()
    rates_hz[rows] = np.where(np.isfinite(slow) & doubled, slow, peak)
    return rates_hz


def peak_frequency_hz(
    frequencies: Array, power: Array, low_hz: ArrayLike, high_hz: ArrayLike
) -> Array:
    """Find the frequency `(...)` of the highest peak of `power` `(..., F)` in the band, or NaN.

    The ends of the band may differ from row to row, `(...)`.
    """
    low, high = (np.asarray(end, dtype=np.float64)[..., None] for end in (low_hz, high_hz))
    middle = power[..., 1:-1]
    bin_hz = (
        frequencies[1] - frequencies[0]
    )  # tolerance: a tone at the band's edge may peak outside
    is_peak = (middle > power[..., :-2]) & (middle >= power[..., 2:])
    is_peak &= (frequencies[1:-1] >= low - bin_hz) & (frequencies[1:-1] <= high + bin_hz)
    height = np.where(is_peak, middle, -np.inf)
    index = np.argmax(height, axis=-1, keepdims=True)
    left, peak, right = (np.take_along_axis(power, index + k, axis=-1) for k in range(3))
    curvature = left - 2 * peak + right
    valid = np.take_along_axis(is_peak, index, axis=-1) & (curvature < 0)
    offset = np.where(valid, 0.5 * (left - right) / np.where(valid, curvature, 1.0), np.nan)
    return np.asarray((frequencies[index + 1] + offset * bin_hz)[..., 0])
