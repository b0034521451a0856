"""Power spectrum of a pulse signal, and its peak: the heart rate."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len, rfftfreq
from scipy.signal import periodogram

from rppg.errors import InputError
from rppg.signals.filters import HIGH_HZ, LOW_HZ

Array = NDArray[np.float64]


def power_spectrum(x: ArrayLike, fps: float, resolution_bpm: float = 0.1) -> tuple[Array, Array]:
    """Compute a Hann-windowed periodogram, zero padded to a spacing of `resolution_bpm` or less.

    Args:
        x: `(..., T)`, any units; its mean is removed.
        fps: sampling rate in Hz.
        resolution_bpm: spacing of the frequency grid. The duration alone determines which two
            frequencies can be distinguished.

    Returns:
        Frequencies in Hz `(F,)`, and the one-sided power density `(..., F)` in units² / Hz.

    Raises:
        InputError: an empty signal.
    """
    signal = np.asarray(x, dtype=np.float64)
    n = signal.shape[-1]
    if n == 0:
        raise InputError("the signal is empty; give at least one sample")
    size = next_fast_len(max(n, int(np.ceil(fps * 60.0 / resolution_bpm))), real=True)
    if signal.size == 0:  # no rows: SciPy would return the wrong shape
        return rfftfreq(size, 1 / fps), np.zeros((*signal.shape[:-1], size // 2 + 1))
    shifted = signal - signal[..., :1]  # a constant becomes exactly 0, without rounding errors
    frequencies, power = periodogram(shifted, fps, window="hann", nfft=size, detrend="constant")
    return np.asarray(frequencies, dtype=np.float64), np.asarray(power, dtype=np.float64)


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


def peak_frequency_hz(frequencies: Array, power: Array, low_hz: float, high_hz: float) -> Array:
    """Find the frequency `(...)` of the highest peak of `power` `(..., F)` in the band, or NaN."""
    middle = power[..., 1:-1]
    bin_hz = (
        frequencies[1] - frequencies[0]
    )  # tolerance: a tone at the band's edge may peak outside
    is_peak = (middle > power[..., :-2]) & (middle >= power[..., 2:])
    is_peak &= (frequencies[1:-1] >= low_hz - bin_hz) & (frequencies[1:-1] <= high_hz + bin_hz)
    height = np.where(is_peak, middle, -np.inf)
    index = np.argmax(height, axis=-1, keepdims=True)
    left, peak, right = (np.take_along_axis(power, index + k, axis=-1) for k in range(3))
    curvature = left - 2 * peak + right
    valid = np.take_along_axis(is_peak, index, axis=-1) & (curvature < 0)
    offset = np.where(valid, 0.5 * (left - right) / np.where(valid, curvature, 1.0), np.nan)
    return np.asarray((frequencies[index + 1] + offset * bin_hz)[..., 0])
