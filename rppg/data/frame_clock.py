"""The clock of frames, if the ground truth has one value with its time for each of them.

Line 3 of UBFC-rPPG's ground truth has the times at which the frames were recorded. The header of
the video has a rate that may be another: then all rates measured in the video would be wrong by
the same factor, although the file is intact.
"""

import functools
import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.types import FaceCrops, Pulse, Recording

log = logging.getLogger(__name__)

DRIFT = 0.01
"""Two clocks drift if they count the same samples and differ by more than this share."""

Array = NDArray[np.float64]


def end_s(times_s: Array) -> float:
    """Return the end of the last sample's interval, its time and a median step.

    400 frames at 20 Hz last 20 s, not 19.95 s.
    """
    step = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    return float(times_s[-1]) + step


def clock_drift(frames_s: Array, values_s: Array) -> float:
    """Return by which share of the longer one two clocks of the same samples differ in length."""
    ends = end_s(frames_s), end_s(values_s)
    return abs(ends[0] - ends[1]) / max(ends)


def with_truth_clock(recording: Recording) -> Recording:
    """Return a recording whose crops have the times of its ground truth, if the clocks drift.

    Only if the ground truth has one value per frame, and usable times. A warning names the
    recording and the clock that is used. Otherwise, the crops are as they were.
    """
    if not recording.per_frame or recording.load_truth is None:
        return recording
    load_truth = functools.cache(recording.load_truth)

    def load_crops() -> FaceCrops:
        return _on_truth_clock(recording.load_crops(), load_truth(), recording.name)

    return replace(recording, load_truth=load_truth, load_crops=load_crops)


def _on_truth_clock(crops: FaceCrops, truth: Pulse, name: str) -> FaceCrops:
    frames_s, values_s = crops.times_s, truth.times_s
    if not _clocks_differ(frames_s, values_s):
        return crops
    counts = f"{len(frames_s)} frames and {len(values_s)} values"
    found = (
        f"{name}: by its own clock the video has {end_s(frames_s):.2f} s, the ground truth "
        f"{end_s(values_s[np.isfinite(values_s)]):.2f} s"
    )
    if len(frames_s) != len(values_s):
        log.warning("%s, for %s; each keeps its own times", found, counts)
        return crops
    if not np.all(np.diff(values_s) > 0):  # False for times that aren't finite, too
        log.warning(
            "%s, but the times of the ground truth don't increase; each keeps its own times", found
        )
        return crops
    log.warning("%s, for as many frames; the ground truth's times of the frames are used", found)
    cuts = np.searchsorted(frames_s, crops.cuts_s)
    return replace(crops, times_s=values_s, cuts_s=tuple(map(float, values_s[cuts])))


def _clocks_differ(frames_s: Array, values_s: Array) -> bool:
    usable = values_s[np.isfinite(values_s)]
    if min(len(frames_s), len(usable)) < 2:
        return False
    if len(frames_s) == len(values_s):
        return clock_drift(frames_s, usable) > DRIFT
    steps = [np.diff(times) for times in (frames_s, usable)]
    ratios = [float(kind(steps[1]) / kind(steps[0])) for kind in (np.mean, np.median)]
    return all(abs(ratio - 1) > DRIFT for ratio in ratios)  # a hole alone lengthens the mean only
