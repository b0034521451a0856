"""How far a pulse signal can be trusted, from its own spectrum."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.spectrum import peak_frequency_hz, power_spectrum

Array = NDArray[np.float64]

HALF_WIDTH_HZ = 0.1
"""±6 bpm around the heart rate and around its double count as pulse."""


def quality(x: ArrayLike, fps: float, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ) -> Array:
    """Quality index `(...)` in 0..1 of a BVP `(..., T)`: the share of its power that is pulse.

    Pulse is what lies within ±6 bpm of the spectrum's peak and of twice its frequency; all else in
    the band is noise. A 10 s window of a steady pulse scores about 0.9, white noise about 0.25.
    0 where there is no peak at all.
    """
    signal = np.asarray(x, dtype=np.float64)
    if signal.shape[-1] < 3:
        return np.zeros(signal.shape[:-1])
    frequencies, power = power_spectrum(signal, fps)
    peak = peak_frequency_hz(frequencies, power, low_hz, high_hz)
    share = pulse_power_share(frequencies, power, peak, low_hz, high_hz)
    return np.nan_to_num(share, nan=0.0)


def pulse_power_share(
    frequencies: Array,
    power: Array,
    pulse_hz: ArrayLike,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> Array:
    """Share `(...)` of the band's power within ±0.1 Hz of `pulse_hz` `(...)` and of its double.

    NaN where `pulse_hz` is NaN or the band holds no power.

    Args:
        frequencies: `(F,)` in Hz.
        power: `(..., F)`.
        pulse_hz: `(...)` in Hz.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
    """
    in_band = (frequencies >= low_hz) & (frequencies <= high_hz)
    f, p = frequencies[in_band], power[..., in_band]
    pulse = np.asarray(pulse_hz, dtype=np.float64)[..., None]
    is_pulse = (np.abs(f - pulse) <= HALF_WIDTH_HZ) | (np.abs(f - 2 * pulse) <= HALF_WIDTH_HZ)
    total = np.sum(p, axis=-1)
    share = np.sum(np.where(is_pulse, p, 0.0), axis=-1) / np.where(total > 0, total, np.nan)
    return np.asarray(np.where(np.isnan(pulse[..., 0]), np.nan, share))
