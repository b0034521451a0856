"""Estimation of the BVP of a recording of any length, while its crops are being read.

Half an hour of crops takes half a gigabyte. So the estimator is applied to overlapping parts, which
are cross-faded, and crops are dropped once no later part needs them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import FcusEstimator, wave_and_traces
from rppg.estimators.objections import FrameKinds, is_grey
from rppg.estimators.reference_traces import ReferenceTraces, join_traces
from rppg.signals import resample, resample_frames, uniform_grid
from rppg.signals.frame_rate import check_frame_rate
from rppg.types import FaceCrops
from rppg.video.crop import LEAST_S
from rppg.video.threads import one_thread

Array = NDArray[np.float64]
Number = TypeVar("Number", np.float32, np.float64)

PART_S, OVERLAP_S = 30.0, 10.0
"""Length of a part, and of the cross-fade to the next one."""
SPLIT_S = 5.0
"""A longer gap between frames splits a recording into stretches: as much of the shortest recording
as that would be made up, and after a clock's jump it may be a day."""


@dataclass(frozen=True)
class Estimate:
    """An estimator's output for a recording.

    Attributes:
        times_s: `(T,)` times of the frames.
        valid: `(T,)` whether the face was in view.
        grid_s: `(N,)` the grid, uniform within each stretch.
        stretches: the slices of the grid between gaps of more than `SPLIT_S`, and between cuts,
            usually one. Those of less than `LEAST_S` are left out, unless there is only one.
        scenes: for each stretch, the number of cuts before it.
        bvp: `(N,)` the estimator's output on the grid.
        traces: by which the BVP is verified, on the grid; None if there is no network for them.
        kinds: what is known of the frames; no stretch lies on both sides of a cut.
        video_s, pulse_s: wall-clock time of reading the crops and of the estimator.
    """

    times_s: Array
    valid: NDArray[np.bool_]
    grid_s: Array
    stretches: tuple[slice, ...]
    scenes: tuple[int, ...]
    bvp: Array
    traces: ReferenceTraces | None
    kinds: FrameKinds
    video_s: float
    pulse_s: float

    @property
    def valid_on_grid(self) -> NDArray[np.bool_]:
        """`(N,)` whether the face was in view, on the grid."""
        return np.asarray(resample(self.valid, self.times_s, self.grid_s) > 0.5)


def estimate(
    pieces: Iterator[FaceCrops],
    estimator: Estimator,
    fps: float,
    reference: FcusEstimator | None = None,
) -> Estimate:
    """Apply an estimator to a recording that arrives in consecutive pieces.

    The result depends on the length of the recording, but not on the lengths of the pieces. Where
    there are no frames for more than `SPLIT_S`, nothing is computed; nothing is joined over a cut.

    Args:
        pieces: crops of consecutive pieces of the recording.
        estimator: any estimator.
        fps: rate in Hz of the uniform grid to which the crops are resampled.
        reference: gives the traces, if the estimator is no such network itself.

    Raises:
        InputError: reading the video or the estimator failed, or no stretch between gaps is long
            enough.
    """
    started = time.perf_counter()
    times: list[Array] = []
    valid: list[NDArray[np.bool_]] = []
    is_key: list[NDArray[np.bool_]] = []
    repeats: list[NDArray[np.bool_]] = []
    done: list[_Stretch] = []
    current = _Stretch(estimator, fps, reference)
    splits, scene, pulse_s, grey = 0, 0, 0.0, True
    for crops in pieces:
        grey = grey and is_grey(crops.frames)
        times.append(crops.times_s)
        valid.append(crops.valid)
        unknown = np.zeros(len(crops.times_s), np.bool_)
        is_key.append(unknown if crops.is_key is None else crops.is_key)
        repeats.append(unknown if crops.repeats is None else crops.repeats)
        before = time.perf_counter()
        for part in _split(crops):
            if part.cuts_s or part.times_s[0] - current.end_s > SPLIT_S:
                splits += 1
                scene += len(part.cuts_s)
                done += current.finish() if current.seconds >= LEAST_S else []
                current = _Stretch(estimator, fps, reference, scene)
            current.add(part)
        pulse_s += time.perf_counter() - before
    before = time.perf_counter()
    times_s = np.concatenate(times)
    if current.seconds >= LEAST_S or splits == 0:
        done += current.finish()
    if not done:
        _refuse(times_s, scene)
    ended = time.perf_counter()
    pulse_s += ended - before
    edges = np.cumsum([0, *(len(stretch.grid_s) for stretch in done)])
    traces = [stretch.traces for stretch in done if stretch.traces is not None]
    return Estimate(
        times_s=times_s,
        valid=np.concatenate(valid),
        grid_s=np.concatenate([stretch.grid_s for stretch in done]),
        stretches=tuple(slice(*map(int, pair)) for pair in pairwise(edges)),
        scenes=tuple(stretch.scene for stretch in done),
        bvp=np.concatenate([stretch.bvp for stretch in done]),
        traces=join_traces(traces) if traces else None,
        kinds=FrameKinds(times_s, np.concatenate(is_key), np.concatenate(repeats), grey),
        video_s=ended - started - pulse_s,
        pulse_s=pulse_s,
    )


class _Stretch:
    """The estimate of a stretch without a long gap or a cut, while its crops arrive.

    Attributes:
        scene: number of cuts before it.
        grid_s: `(N,)` the uniform grid. It, `bvp` and `traces` are known when it is finished.
        bvp: `(N,)`.
        traces: on the grid, None if there is no network for them.
    """

    def __init__(
        self, estimator: Estimator, fps: float, reference: FcusEstimator | None, scene: int = 0
    ) -> None:
        self.scene = scene
        self.grid_s: Array
        self.bvp: Array
        self.traces: ReferenceTraces | None = None
        self._estimator, self._fps, self._reference = estimator, fps, reference
        self._part, self._overlap = round(PART_S * fps), round(OVERLAP_S * fps)
        self._times: list[Array] = []
        self._pending: list[FaceCrops] = []  # the pieces that the next part needs
        self._waves: list[Array] = []
        self._rows: list[NDArray[np.float32]] = []
        self._start = 0

    @property
    def end_s(self) -> float:
        """Time of the last frame so far; infinite before the first."""
        return float(self._times[-1][-1]) if self._times else np.inf

    @property
    def seconds(self) -> float:
        """Length so far, which covers the last frame, too."""
        count = sum(map(len, self._times))
        length_s = float(self._times[-1][-1] - self._times[0][0]) if self._times else 0.0
        return length_s * count / max(count - 1, 1) + 1e-3

    def add(self, crops: FaceCrops) -> None:
        """Add the next crops, and estimate what is complete."""
        self._times.append(crops.times_s)
        self._pending.append(crops)
        while (end := self._start + self._part) <= (
            _grid_length(self._times, self._fps) - 2 * self._overlap
        ):
            grid_s = self._times[0][0] + np.arange(self._start, end) / self._fps
            self._estimate(grid_s)
            self._start = end - self._overlap
            while len(self._pending) > 1 and self._pending[1].times_s[0] <= grid_s[-self._overlap]:
                self._pending.pop(0)

    def finish(self) -> "list[_Stretch]":
        """Estimate the rest, and return this stretch in a list."""
        self.grid_s = uniform_grid(np.concatenate(self._times), self._fps)
        self._estimate(self.grid_s[self._start :])
        self.bvp = np.concatenate(self._waves)
        if self.traces is not None:
            self.traces = replace(self.traces, rows=np.concatenate(self._rows, axis=-1))
        self._pending, self._waves, self._rows = [], [], []
        return [self]

    def _estimate(self, grid_s: Array) -> None:
        with one_thread():  # the frames have no name here, so that they can be freed within
            wave, part = wave_and_traces(
                self._estimator,
                _resample_pieces(self._pending, grid_s),
                self._fps,
                self._reference,
            )
        _cross_fade(self._waves, wave, self._overlap)
        if part is not None:
            _cross_fade(self._rows, part.rows, self._overlap)
            self.traces = part


def _split(crops: FaceCrops) -> Iterator[FaceCrops]:
    """Yield the parts of crops between gaps of more than `SPLIT_S`, and between cuts.

    A part that begins with a cut has its time.
    """
    times_s = crops.times_s
    gaps = np.flatnonzero(np.diff(times_s) > SPLIT_S) + 1
    if len(gaps) == 0 and not crops.cuts_s:
        yield crops
        return
    edges = {0, *map(int, gaps), *map(int, np.searchsorted(times_s, crops.cuts_s)), len(times_s)}
    for first, end in pairwise(sorted(edges)):
        yield crops.part(slice(first, end))


def _refuse(times_s: Array, cuts: int) -> NoReturn:
    """Raise an InputError on frames of which no stretch between gaps or cuts is long enough."""
    check_frame_rate(times_s)
    if cuts:
        raise InputError(
            f"{cuts} cuts to other pictures or persons, and no {LEAST_S:g} s between two of them; "
            "a pulse needs as long with one face"
        )
    edges = np.flatnonzero(np.diff(times_s) > SPLIT_S)
    first, last = times_s[np.append(0, edges + 1)], times_s[np.append(edges, len(times_s) - 1)]
    raise InputError(
        f"{len(edges)} gaps of more than {SPLIT_S:g} s between frames, and at most "
        f"{max(last - first):.1f} s without one; a pulse needs at least {LEAST_S:g} s, record "
        "without interruption"
    )


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
