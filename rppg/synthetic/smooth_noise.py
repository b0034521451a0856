"""Smooth random time series and textures."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

Array = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, times_s: Array, cutoff_hz: float) -> Array:
    """Draw a random series `(T,)` of zero mean, unit deviation and little power above `cutoff_hz`.

    It is drawn on a fixed fine grid and interpolated at `times_s`, so that it doesn't depend on the
    frame rate.
    """
    fine_hz = 60.0
    pad_s = 2.0 / cutoff_hz
    count = int((times_s[-1] - times_s[0] + 2 * pad_s) * fine_hz) + 2
    # A Gaussian of deviation s has its half-power frequency at 0.1325 / s.
    series = gaussian_filter1d(rng.standard_normal(count), 0.1325 / cutoff_hz * fine_hz)
    series = (series - series.mean()) / max(series.std(), 1e-12)
    return np.interp(times_s, times_s[0] - pad_s + np.arange(count) / fine_hz, series)


def step_noise(
    rng: np.random.Generator, times_s: Array, mean_interval_s: float, rise_s: float
) -> Array:
    """Draw a series `(T,)` of zero mean and unit deviation that jumps at random times."""
    fine_hz = 60.0
    count = int((times_s[-1] - times_s[0]) * fine_hz) + 2
    jumps = np.cumsum(rng.random(count) < 1.0 / (mean_interval_s * fine_hz))
    levels = rng.standard_normal(int(jumps[-1]) + 1)[jumps]
    series = gaussian_filter1d(levels, rise_s * fine_hz / 2)
    series = (series - series.mean()) / max(series.std(), 1e-3)
    return np.interp(times_s, times_s[0] + np.arange(count) / fine_hz, series)


def texture(rng: np.random.Generator, size: int, grain: float) -> Array:
    """Draw a texture `(size, size)` of zero mean, unit deviation and grains of `grain` pixels."""
    field = gaussian_filter(rng.standard_normal((size, size)), grain, mode="wrap")
    return np.asarray((field - field.mean()) / max(field.std(), 1e-12))
