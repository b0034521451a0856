"""Estimation of the BVP of a recording of any length, while its crops are being read.

Half an hour of crops takes half a gigabyte. So the estimator is applied to overlapping parts, which
are cross-faded, and crops are dropped once no later part needs them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import FcusEstimator, wave_and_traces
from rppg.estimators.reference_traces import ReferenceTraces
from rppg.signals import resample_frames, uniform_grid
from rppg.types import FaceCrops
from rppg.video.threads import one_thread

Array = NDArray[np.float64]
Number = TypeVar("Number", np.float32, np.float64)

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
        traces: by which the BVP is verified, on the grid; None if there is no network for them.
        grey: whether all frames are grey, as those of a monochrome camera stored as RGB.
        video_s, pulse_s: wall-clock time of reading the crops and of the estimator.
    """

    times_s: Array
    valid: NDArray[np.bool_]
    grid_s: Array
    bvp: Array
    traces: ReferenceTraces | None
    grey: bool
    video_s: float
    pulse_s: float


def estimate(
    pieces: Iterator[FaceCrops],
    estimator: Estimator,
    fps: float,
    reference: FcusEstimator | None = None,
) -> Estimate:
    """Apply an estimator to a recording that arrives in consecutive pieces.

    The result depends on the length of the recording, but not on the lengths of the pieces.

    Args:
        pieces: crops of consecutive pieces of the recording.
        estimator: any estimator.
        fps: rate in Hz of the uniform grid to which the crops are resampled.
        reference: gives the traces, if the estimator is no such network itself.

    Raises:
        InputError: reading the video or the estimator failed.
    """
    started = time.perf_counter()
    pulse_s = 0.0
    part, overlap = round(PART_S * fps), round(OVERLAP_S * fps)
    times: list[Array] = []
    valid: list[NDArray[np.bool_]] = []
    pending: list[FaceCrops] = []  # the pieces that the next part needs
    bvp: list[Array] = []
    traces: list[ReferenceTraces] = []
    rows: list[NDArray[np.float32]] = []
    start = 0

    def add(grid_s: Array) -> None:
        frames = _resample_pieces(pending, grid_s)
        with one_thread():
            wave, part = wave_and_traces(estimator, frames, fps, reference)
        _cross_fade(bvp, wave, overlap)
        if part is not None:
            _cross_fade(rows, part.rows, overlap)
            traces[:] = [part]

    grey = True
    for crops in pieces:
        grey = grey and _is_grey(crops.frames)
        times.append(crops.times_s)
        valid.append(crops.valid)
        pending.append(crops)
        while (end := start + part) <= _grid_length(times, fps) - 2 * overlap:
            before = time.perf_counter()
            grid_s = times[0][0] + np.arange(start, end) / fps
            add(grid_s)
            start = end - overlap
            while len(pending) > 1 and pending[1].times_s[0] <= grid_s[-overlap]:
                pending.pop(0)
            pulse_s += time.perf_counter() - before
    before = time.perf_counter()
    times_s = np.concatenate(times)
    grid_s = uniform_grid(times_s, fps)
    add(grid_s[start:])
    ended = time.perf_counter()
    pulse_s += ended - before
    video_s = ended - started - pulse_s
    return Estimate(
        times_s=times_s,
        valid=np.concatenate(valid),
        grid_s=grid_s,
        bvp=np.concatenate(bvp),
        traces=replace(traces[0], rows=np.concatenate(rows, axis=-1)) if traces else None,
        grey=grey,
        video_s=video_s,
        pulse_s=pulse_s,
    )


def _is_grey(frames: NDArray[np.uint8]) -> bool:
    """Return whether the three channels are equal, up to rounding."""
    if frames.shape[-1] != 3:
        return False
    return bool(np.all(frames.max(axis=-1) - frames.min(axis=-1) <= 1))


def _grid_length(times: list[Array], fps: float) -> int:
    """Return the number of grid points that the frames so far cover."""
    return int(np.floor((times[-1][-1] - times[0][0]) * fps + 1e-6)) + 1


def _resample_pieces(pieces: list[FaceCrops], grid_s: Array) -> NDArray[np.float32]:
    frames, times = [], []
    for crops in pieces:  # the frames of this part and one on either side
        first = max(0, np.searchsorted(crops.times_s, grid_s[0], side="right") - 1)
        part = slice(first, np.searchsorted(crops.times_s, grid_s[-1]) + 1)
        frames.append(crops.frames[part])
        times.append(crops.times_s[part])
    return resample_frames(np.concatenate(frames), np.concatenate(times), grid_s)


def _cross_fade(done: list[NDArray[Number]], wave: NDArray[Number], overlap: int) -> None:
    """Append `wave` `(..., T)`, with a linear fade over what overlaps the last one in `done`."""
    if done:
        last = done.pop()
        fade = ((np.arange(overlap) + 0.5) / max(overlap, 1)).astype(wave.dtype)
        shared = (1 - fade) * last[..., -overlap:] + fade * wave[..., :overlap]
        done += [last[..., :-overlap], shared]
        wave = wave[..., overlap:]
    done.append(wave)
