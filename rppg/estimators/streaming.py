"""The BVP of a recording of any length, estimated while its crops still come in.

A recording of half an hour is half a gigabyte of crops. It goes through the estimator in
overlapping parts that fade into each other, and what has been through is let go.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.classical import Estimator
from rppg.signals import resample_frames, uniform_grid
from rppg.types import FaceCrops
from rppg.video.threads import one_thread

Array = NDArray[np.float64]

PART_S, OVERLAP_S = 30.0, 10.0
"""Length of a part, and how long it fades into the next."""


@dataclass(frozen=True)
class Estimate:
    """What an estimator said of a recording.

    Attributes:
        times_s: `(T,)` times of the frames.
        valid: `(T,)` whether the face was seen.
        grid_s: `(N,)` the uniform clock.
        bvp: `(N,)` the estimator's output on it.
        grey: whether no frame has any colour: a monochrome camera's, stored as RGB.
        video_s, pulse_s: wall-clock time that went to the crops and to the estimator.
    """

    times_s: Array
    valid: NDArray[np.bool_]
    grid_s: Array
    bvp: Array
    grey: bool
    video_s: float
    pulse_s: float


def estimate(pieces: Iterator[FaceCrops], estimator: Estimator, fps: float) -> Estimate:
    """Run an estimator on a uniform grid of `fps` Hz over a recording in consecutive pieces.

    The parts depend on the length of the recording alone, not on that of the pieces.

    Raises:
        InputError: from reading the video, or from the estimator.
    """
    started = time.perf_counter()
    pulse_s = 0.0
    part, overlap = round(PART_S * fps), round(OVERLAP_S * fps)
    times: list[Array] = []
    valid: list[NDArray[np.bool_]] = []
    held: list[FaceCrops] = []  # what the next part needs
    bvp = np.zeros(0)
    start = 0
    grey = True
    for crops in pieces:
        grey = grey and _is_grey(crops.frames)
        times.append(crops.times_s)
        valid.append(crops.valid)
        held.append(crops)
        while (end := start + part) <= _grid_length(times, fps) - 2 * overlap:
            before = time.perf_counter()
            grid_s = times[0][0] + np.arange(start, end) / fps
            bvp = _faded(bvp, start, _wave(held, grid_s, estimator, fps))
            start = end - overlap
            while len(held) > 1 and held[1].times_s[0] <= grid_s[-overlap]:
                held.pop(0)
            pulse_s += time.perf_counter() - before
    before = time.perf_counter()
    clock = np.concatenate(times)
    grid_s = uniform_grid(clock, fps)
    bvp = _faded(bvp, start, _wave(held, grid_s[start:], estimator, fps))
    done = time.perf_counter()
    pulse_s += done - before
    video_s = done - started - pulse_s
    return Estimate(clock, np.concatenate(valid), grid_s, bvp, grey, video_s, pulse_s)


def _is_grey(frames: NDArray[np.uint8]) -> bool:
    """Whether three channels are one and the same, but for rounding."""
    if frames.shape[-1] != 3:
        return False
    least, most = frames.min(axis=-1), frames.max(axis=-1)
    return bool(np.all(most - least <= 1))


def _grid_length(times: list[Array], fps: float) -> int:
    """Points of the grid that the frames so far cover."""
    return int(np.floor((times[-1][-1] - times[0][0]) * fps + 1e-6)) + 1


def _wave(held: list[FaceCrops], grid_s: Array, estimator: Estimator, fps: float) -> Array:
    frames, times = [], []
    for crops in held:  # the frames of this span and one on either side
        first = max(0, np.searchsorted(crops.times_s, grid_s[0], side="right") - 1)
        span = slice(first, np.searchsorted(crops.times_s, grid_s[-1]) + 1)
        frames.append(crops.frames[span])
        times.append(crops.times_s[span])
    even = resample_frames(np.concatenate(frames), np.concatenate(times), grid_s)
    with one_thread():
        return np.asarray(estimator(even, fps), dtype=np.float64)


def _faded(bvp: Array, start: int, wave: Array) -> Array:
    """`wave`, which begins at `start`, joined to what came before."""
    overlap = len(bvp) - start
    fade = (np.arange(overlap) + 0.5) / max(overlap, 1)
    shared = (1 - fade) * bvp[start:] + fade * wave[:overlap]
    return np.concatenate([bvp[:start], shared, wave[overlap:]])
