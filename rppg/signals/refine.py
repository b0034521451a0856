"""A filter that keeps the pulse wave near the local heart rate and its second harmonic."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]

WINDOW_S = 5.0
OVERLAP = 8
"""Number of windows that cover each sample."""
SEARCH_HZ = 0.35
WIDTH_HZ = 0.15
SECOND_GAIN = 0.7
"""Gain of the second harmonic, which has the dicrotic notch but a lower signal-to-noise ratio."""
ZERO_PADDING = 4
"""Length of the Fourier transform, in windows."""


def refine(bvp: Array, rate_hz: Array, fps: float, width_hz: float = WIDTH_HZ) -> Array:
    """Attenuate what is far from the local heart rate and from its double.

    In overlapping windows of `WINDOW_S`, the spectrum is multiplied by two Gaussians of standard
    deviation `width_hz`: around the strongest line within `SEARCH_HZ` of the given rate, and around
    its double. The windows are then added. Where the rate is unknown the wave is not changed, so
    that noise doesn't become a pulse. Changes from beat to beat that are faster than `width_hz` are
    smoothed: `modulation_gain` has by how much. Heart rate variability needs a greater width than
    the default (`rppg.signals.variability_of_wave`).

    Args:
        bvp: `(T,)`, filtered to the pulse's band.
        rate_hz: `(T,)` heart rate around each sample, NaN where it is unknown.
        fps: sampling rate in Hz.
        width_hz: standard deviation of the two Gaussians.

    Returns:
        `(T,)`.
    """
    length = min(round(WINDOW_S * fps), len(bvp))
    hop = max(1, length // OVERLAP)
    pad = length + (-len(bvp)) % hop  # the last window ends where the padded wave does
    wave = np.pad(bvp, (length, pad), mode="symmetric" if pad <= len(bvp) else "edge")
    padded_rate_hz = np.pad(rate_hz, (length, pad), mode="edge")
    taper = np.hanning(length + 2)[1:-1]
    windows = sliding_window_view(wave, length)[::hop] * taper
    spectra = np.fft.rfft(windows, ZERO_PADDING * length)
    hz = np.fft.rfftfreq(ZERO_PADDING * length, 1 / fps)
    rates_hz = sliding_window_view(padded_rate_hz, length)[::hop]
    has_rate = np.isfinite(rates_hz).mean(1) > 0.5
    expected_hz = np.full(len(rates_hz), np.nan)
    expected_hz[has_rate] = np.nanmedian(rates_hz[has_rate], axis=1)
    near = np.abs(hz - expected_hz[:, None]) <= SEARCH_HZ
    peak_hz = hz[np.argmax(np.where(near, np.abs(spectra), -1.0), axis=1)][:, None]
    gain = np.exp(-0.5 * ((hz - peak_hz) / width_hz) ** 2)
    gain = np.minimum(gain + SECOND_GAIN * np.exp(-0.5 * ((hz - 2 * peak_hz) / width_hz) ** 2), 1.0)
    gain[~has_rate] = 1.0
    filtered = np.fft.irfft(spectra * gain, ZERO_PADDING * length)[:, :length] * taper
    total, weight = np.zeros(len(wave)), np.zeros(len(wave))
    for start, window in zip(range(0, len(wave), hop), filtered, strict=False):
        total[start : start + length] += window
        weight[start : start + length] += taper**2
    inside = slice(length, length + len(bvp))
    return np.asarray(total[inside] / weight[inside])


def modulation_gain(hz: Array, width_hz: float, fps: float) -> Array:
    """Return what `refine` leaves of a modulation of the pulse, `(F,)` in 0..1.

    A modulation by `hz`, of the amplitude or of the beats' times, is a pair of lines at that
    distance from the heart rate, and so is a part of the noise. The windows and their addition
    multiply the Gaussian's impulse response by the taper's autocorrelation. What the Gaussian
    around the second harmonic adds to a wide one is left out.

    Args:
        hz: `(F,)` frequencies of the modulation.
        width_hz: as in `refine`.
        fps: sampling rate in Hz.
    """
    length = round(WINDOW_S * fps)
    taper = np.hanning(length + 2)[1:-1]
    overlap = np.correlate(taper, taper, "full")[length - 1 :]
    lag_s = np.arange(length) / fps
    impulse = np.exp(-0.5 * (2 * np.pi * width_hz * lag_s) ** 2) * overlap / overlap[0]
    impulse *= width_hz * np.sqrt(2 * np.pi) / fps
    return np.asarray(2 * impulse @ np.cos(2 * np.pi * np.outer(lag_s, hz)) - impulse[0])


def normalise(wave: Array) -> Array:
    """Scale a wave to standard deviation 1."""
    deviation = float(np.std(wave))
    return wave / deviation if deviation > 0 else wave
