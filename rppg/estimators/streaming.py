"""Estimation of the BVP of a recording of any length, while its crops are being read.

Half an hour of crops takes half a gigabyte. So the estimator is applied to overlapping parts, which
are cross-faded, and crops are dropped once no later part needs them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.estimator import Estimator
from rppg.signals import resample_frames, uniform_grid
from rppg.types import FaceCrops
from rppg.video.threads import one_thread

Array = NDArray[np.float64]

PART_S, OVERLAP_S = 30.0, 10.0
"""Length of a part, and of the cross-fade to the next one."""


@dataclass(frozen=True)
class Estimate:
    """An estimator's output for a recording.

    Attributes:
        times_s: `(T,)` times of the frames.
        valid: `(T,)` whether the face was in view.
        grid_s: `(N,)` the uniform grid.
        bvp: `(N,)` the estimator's output on the grid.
        grey: whether all frames are grey, as those of a monochrome camera stored as RGB.
        video_s, pulse_s: wall-clock time of reading the crops and of the estimator.
    """

    times_s: Array
    valid: NDArray[np.bool_]
    grid_s: Array
    bvp: Array
    grey: bool
    video_s: float
    pulse_s: float


def estimate(pieces: Iterator[FaceCrops], estimator: Estimator, fps: float) -> Estimate:
    """Apply an estimator to a recording that arrives in consecutive pieces.

    The result depends on the length of the recording, but not on the lengths of the pieces.

    Args:
        pieces: crops of consecutive pieces of the recording.
        estimator: any estimator.
        fps: rate in Hz of the uniform grid to which the crops are resampled.

    Raises:
        InputError: reading the video or the estimator failed.
    """
    started = time.perf_counter()
    pulse_s = 0.0
    part, overlap = round(PART_S * fps), round(OVERLAP_S * fps)
    times: list[Array] = []
    valid: list[NDArray[np.bool_]] = []
    pending: list[FaceCrops] = []  # the pieces that the next part needs
    bvp = np.zeros(0)
    start = 0
    grey = True
    for crops in pieces:
        grey = grey and _is_grey(crops.frames)
        times.append(crops.times_s)
        valid.append(crops.valid)
        pending.append(crops)
        while (end := start + part) <= _grid_length(times, fps) - 2 * overlap:
            before = time.perf_counter()
            grid_s = times[0][0] + np.arange(start, end) / fps
            bvp = _cross_fade(bvp, start, _estimate_part(pending, grid_s, estimator, fps))
            start = end - overlap
            while len(pending) > 1 and pending[1].times_s[0] <= grid_s[-overlap]:
                pending.pop(0)
            pulse_s += time.perf_counter() - before
    before = time.perf_counter()
    times_s = np.concatenate(times)
    grid_s = uniform_grid(times_s, fps)
    bvp = _cross_fade(bvp, start, _estimate_part(pending, grid_s[start:], estimator, fps))
    ended = time.perf_counter()
    pulse_s += ended - before
    video_s = ended - started - pulse_s
    return Estimate(times_s, np.concatenate(valid), grid_s, bvp, grey, video_s, pulse_s)


def _is_grey(frames: NDArray[np.uint8]) -> bool:
    """Return whether the three channels are equal, up to rounding."""
    if frames.shape[-1] != 3:
        return False
    return bool(np.all(frames.max(axis=-1) - frames.min(axis=-1) <= 1))


def _grid_length(times: list[Array], fps: float) -> int:
    """Return the number of grid points that the frames so far cover."""
    return int(np.floor((times[-1][-1] - times[0][0]) * fps + 1e-6)) + 1


def _estimate_part(
    pieces: list[FaceCrops], grid_s: Array, estimator: Estimator, fps: float
) -> Array:
    frames, times = [], []
    for crops in pieces:  # the frames of this part and one on either side
        first = max(0, np.searchsorted(crops.times_s, grid_s[0], side="right") - 1)
        part = slice(first, np.searchsorted(crops.times_s, grid_s[-1]) + 1)
        frames.append(crops.frames[part])
        times.append(crops.times_s[part])
    resampled = resample_frames(np.concatenate(frames), np.concatenate(times), grid_s)
    with one_thread():
        return np.asarray(estimator(resampled, fps), dtype=np.float64)


def _cross_fade(bvp: Array, start: int, wave: Array) -> Array:
    """Append `wave`, which begins at index `start`, with a linear fade over what overlaps."""
    overlap = len(bvp) - start
    fade = (np.arange(overlap) + 0.5) / max(overlap, 1)
    shared = (1 - fade) * bvp[start:] + fade * wave[:overlap]
    return np.concatenate([bvp[:start], shared, wave[overlap:]])
