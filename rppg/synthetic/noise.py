"""Smooth random time courses and textures."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

Array = NDArray[np.float64]


def smooth_course(rng: np.random.Generator, times_s: Array, cutoff_hz: float) -> Array:
    """Zero-mean, unit-deviation random course `(T,)` with little power above `cutoff_hz`.

    Drawn on a fixed fine grid and then read at `times_s`, so that the course does not depend on
    the frame rate at which it is looked at.
    """
    fine_hz = 60.0
    pad_s = 2.0 / cutoff_hz
    count = int((times_s[-1] - times_s[0] + 2 * pad_s) * fine_hz) + 2
    # A Gaussian of deviation s has its half-power frequency at 0.1325 / s.
    course = gaussian_filter1d(rng.standard_normal(count), 0.1325 / cutoff_hz * fine_hz)
    course = (course - course.mean()) / max(course.std(), 1e-12)
    return np.interp(times_s, times_s[0] - pad_s + np.arange(count) / fine_hz, course)


def steps_course(
    rng: np.random.Generator, times_s: Array, mean_interval_s: float, rise_s: float
) -> Array:
    """Zero-mean, unit-deviation course `(T,)` that jumps at random times, as cuts in a film do."""
    fine_hz = 60.0
    count = int((times_s[-1] - times_s[0]) * fine_hz) + 2
    jumps = np.cumsum(rng.random(count) < 1.0 / (mean_interval_s * fine_hz))
    levels = rng.standard_normal(int(jumps[-1]) + 1)[jumps]
    course = gaussian_filter1d(levels, rise_s * fine_hz / 2)
    course = (course - course.mean()) / max(course.std(), 1e-3)
    return np.interp(times_s, times_s[0] + np.arange(count) / fine_hz, course)


def texture(rng: np.random.Generator, size: int, grain: float) -> Array:
    """Zero-mean, unit-deviation texture `(size, size)` with spots about `grain` pixels wide."""
    field = gaussian_filter(rng.standard_normal((size, size)), grain, mode="wrap")
    return np.asarray((field - field.mean()) / max(field.std(), 1e-12))
