"""Resampling of signals and frames from irregular timestamps to a uniform grid."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError

Array = NDArray[np.float64]

FRAMES_AT_ONCE = 64
"""Number of frames that are interpolated together: bounds the memory."""
MOST_POINTS = 10_000_000
"""Longest grid, of four days at 30 Hz. Times that span more are in another unit than seconds."""


def uniform_grid(times_s: ArrayLike, fps: float) -> Array:
    """Return the uniform grid `times_s[0] + n / fps`, `(N,)`, up to and including `times_s[-1]`.

    Args:
        times_s: `(T,)` strictly increasing, in seconds, T ≥ 2.
        fps: rate of the grid in Hz.

    Raises:
        InputError: too few, unordered or non-finite times, more than `MOST_POINTS`, or a rate that
            is not positive.
    """
    times = _clock(times_s)
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"the grid's rate is {fps} Hz; give a positive rate such as 30")
    length_s = float(times[-1] - times[0])
    if length_s * fps > MOST_POINTS:
        raise InputError(
            f"the times span {length_s:.4g} s, a grid of more than {MOST_POINTS:.0e} points at "
            f"{fps:g} Hz; are they in seconds?"
        )
    steps = int(np.floor(length_s * fps + 1e-6))
    return np.asarray(times[0] + np.arange(steps + 1) / fps)


def resample(values: ArrayLike, times_s: ArrayLike, grid_s: ArrayLike) -> Array:
    """Resample values `(..., T)` at `times_s` `(T,)` to the uniform `grid_s` `(N,)`: `(..., N)`.

    Linear interpolation by timestamps. If the source is clearly denser than the grid (a contact
    sensor at 256 Hz), each grid point is the mean of the interpolated signal over its cell, so that
    mains hum does not alias into the band of the pulse. Outside of `times_s` the end values are
    held. A NaN makes the grid points beside it NaN; in a denser source, all points after it.

    Raises:
        InputError: `values` and `times_s` differ in length, or the times do not increase.
    """
    x = np.asarray(values, dtype=np.float64)
    times = _clock(times_s)
    grid = np.asarray(grid_s, dtype=np.float64)
    _check_length(x.shape[-1] if x.ndim else 0, len(times))
    level = np.nan_to_num(x[..., :1])  # a constant stays constant, without rounding errors
    step = float(np.median(np.diff(grid))) if len(grid) > 1 else 0.0
    if np.median(np.diff(times)) < 0.75 * step:
        return level + _cell_means(x - level, times, grid, step)
    return level + _interpolate(x - level, times, grid)


def resample_frames(
    frames: NDArray[np.uint8] | NDArray[np.float32], times_s: ArrayLike, grid_s: ArrayLike
) -> NDArray[np.float32]:
    """Resample frames `(T, H, W, C)` to `(N, H, W, C)`, float32 in the same range (uint8: 0–255).

    Linear interpolation in time, pixel by pixel. Outside of `times_s` the end frames are held.

    Raises:
        InputError: `frames` and `times_s` differ in length, or the times do not increase.
    """
    times = _clock(times_s)
    grid = np.asarray(grid_s, dtype=np.float64)
    _check_length(len(frames), len(times))
    left, weight = _bracket(times, grid)
    out = np.empty((len(grid), *frames.shape[1:]), dtype=np.float32)
    w = weight.astype(np.float32).reshape(-1, *[1] * (frames.ndim - 1))
    for start in range(0, len(grid), FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        before = frames[left[part]].astype(np.float32)
        after = frames[left[part] + 1].astype(np.float32)
        out[part] = before + w[part] * (after - before)
    return out


def _clock(times_s: ArrayLike) -> Array:
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise InputError(f"timestamps have shape {times.shape}; give at least two in one row")
    steps = np.diff(times)
    if not np.all(steps > 0):
        index = int(np.argmin(steps > 0))
        raise InputError(
            f"timestamps must increase, but {times[index]} s is followed by {times[index + 1]} s "
            f"(number {index + 1}); drop repeated or unordered samples"
        )
    return times


def _check_length(samples: int, times: int) -> None:
    if samples != times:
        raise InputError(f"{samples} samples but {times} timestamps; give one time for each sample")


def _bracket(times: Array, grid: Array) -> tuple[NDArray[np.intp], Array]:
    """Return the index of the sample before each grid point, and the weight of the one after it."""
    left = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(times) - 2)
    weight = (grid - times[left]) / (times[left + 1] - times[left])
    return left, np.clip(weight, 0.0, 1.0)


def _interpolate(x: Array, times: Array, grid: Array) -> Array:
    left, weight = _bracket(times, grid)
    return np.asarray(x[..., left] * (1 - weight) + x[..., left + 1] * weight)


def _cell_means(x: Array, times: Array, grid: Array, step: float) -> Array:
    """Average the piecewise linear signal over `step` around each grid point, by its integral."""
    areas = np.diff(times) * (x[..., 1:] + x[..., :-1]) / 2
    integral = np.concatenate([np.zeros_like(x[..., :1]), np.cumsum(areas, axis=-1)], axis=-1)

    def integral_at(times_s: Array) -> Array:
        left, weight = _bracket(times, times_s)
        start, end = x[..., left], x[..., left + 1]
        area = (start + weight * (end - start) / 2) * weight * (times[left + 1] - times[left])
        return np.asarray(integral[..., left] + area)

    low = np.clip(grid - step / 2, times[0], times[-1])
    high = np.clip(grid + step / 2, times[0], times[-1])
    width = high - low
    inside = width > 1e-9 * step
    mean = (integral_at(high) - integral_at(low)) / np.where(inside, width, 1.0)
    return np.where(inside, mean, _interpolate(x, times, grid))
