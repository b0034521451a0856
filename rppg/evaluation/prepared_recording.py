"""A recording on the protocol's grid: crops and ground truth, ready for every method."""

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.data.frame_clock import end_s
from rppg.data.wave_fault import usable_samples
from rppg.errors import InputError
from rppg.estimators.fcus import find_traces
from rppg.estimators.find import reference_estimator
from rppg.estimators.objections import FrameKinds, frame_kinds
from rppg.estimators.reference_traces import ReferenceTraces
from rppg.estimators.verified_rates import measure_second
from rppg.signals import resample, resample_frames, uniform_grid
from rppg.signals.protocol import Measured, Protocol, measure
from rppg.types import Pulse, Recording
from rppg.video.threads import one_thread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PreparedRecording:
    """A recording on the protocol's grid, ready for every method.

    Attributes:
        recording: the recording.
        grid_s: `(T,)` the uniform grid of both frames and ground truth.
        frames: `(T, S, S, C)` crops on the grid, 0–255.
        in_view: `(T,)` whether the face is in view.
        kinds: what is known of the frames.
        truth: the measured ground truth.
        protocol: what it was prepared for.
    """

    recording: Recording
    grid_s: Array
    frames: NDArray[np.float32]
    in_view: NDArray[np.bool_]
    kinds: FrameKinds
    truth: Measured
    protocol: Protocol

    @functools.cached_property
    def traces(self) -> ReferenceTraces | None:
        """The traces by which waves are verified, for methods that have none of their own."""
        with one_thread():
            return find_traces(reference_estimator(), self.frames, self.protocol.fps)

    @functools.cached_property
    def second(self) -> Measured | None:
        """The second method's wave in `traces`, measured once for all methods."""
        return None if self.traces is None else measure_second(self.traces, self.protocol)


def prepare(recording: Recording, protocol: Protocol) -> PreparedRecording:
    """Read a recording and resample its crops and ground truth to the protocol's grid.

    Raises:
        InputError: it can't be read, has no ground truth, or they have too little time in common.
    """
    if recording.load_truth is None:
        raise InputError(
            f"{recording.name} has no ground truth; it can be trained on, not evaluated"
        )
    truth = _finite_part(recording.load_truth(), recording)
    crops = recording.load_crops()
    start = max(truth.times_s[0], crops.times_s[0])
    end = min(end_s(truth.times_s), end_s(crops.times_s))
    if end - start < 2 / protocol.low_hz:
        raise InputError(
            f"{recording.name}: video ({crops.times_s[0]:.1f}–{crops.times_s[-1]:.1f} s) and "
            f"ground truth ({truth.times_s[0]:.1f}–{truth.times_s[-1]:.1f} s) share "
            f"{max(0.0, end - start):.1f} s; at least {2 / protocol.low_hz:.1f} s are needed"
        )
    grid = uniform_grid([start, end - 1 / protocol.fps], protocol.fps)
    labelled = _covered(truth.times_s, grid, protocol.max_gap_s)
    in_view = _covered(crops.times_s, grid, protocol.max_gap_s)
    in_view &= resample(crops.valid, crops.times_s, grid) > 0.5
    label = resample(truth.bvp, truth.times_s, grid)
    return PreparedRecording(
        recording=recording,
        grid_s=grid,
        frames=resample_frames(crops.frames, crops.times_s, grid),
        in_view=in_view,
        kinds=frame_kinds(crops),
        truth=measure(label, replace(protocol, min_valid=0.9, continuity=False), valid=labelled),
        protocol=protocol,
    )


def _finite_part(truth: Pulse, recording: Recording) -> Pulse:
    """Return the samples that are finite and whose times increase."""
    usable = usable_samples(truth)
    if len(usable.bvp) < 2:
        raise InputError(
            f"{recording.name}: the ground truth has {len(usable.bvp)} usable samples of "
            f"{len(truth.bvp)}; check its file"
        )
    return usable


def _covered(times_s: Array, grid_s: Array, max_gap_s: float) -> NDArray[np.bool_]:
    """Return whether each grid point lies outside of gaps longer than `max_gap_s`."""
    after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    return np.asarray(times_s[after] - times_s[after - 1] <= max_gap_s)
