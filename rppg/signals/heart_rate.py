"""Heart rate of a pulse signal: the peak of its power spectrum."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]


def heart_rate_bpm(
    x: ArrayLike, fps: float, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Array:
    """Compute the heart rate in bpm `(...)`: the highest local maximum of the spectrum in the band.

    The peak is refined by the parabola through it and its two neighbours. NaN where there is no
    peak: a constant or non-finite signal, or a spectrum that only rises or falls within the band.

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
    return peak_frequency_hz(frequencies, power, low_hz, high_hz) * 60.0


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
