"""What speaks against heart rates, beside the evidence from the pixels: the frames themselves."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.signals import RateSeries
from rppg.signals.frame_rate import is_frozen, may_be_folded
from rppg.signals.keyframes import is_keyframe_rate
from rppg.signals.reasons import CUT, FOLDED, FROZEN, GREY, KEYFRAMES
from rppg.types import FaceCrops

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

Objections = tuple[str | None, ...]
"""For each window, the reason why its rate isn't that of a pulse, None if there is none."""


@dataclass(frozen=True)
class FrameKinds:
    """What is known of T frames beside their pixels.

    Attributes:
        times_s: `(T,)` times of the frames.
        is_key: `(T,)` whether the codec stored a frame whole; False where it is unknown.
        repeats: `(T,)` whether a frame repeats the one before; False where it is unknown.
        grey: whether all frames are grey, as those of a monochrome camera stored as RGB.
        cuts_s: times of cuts that the wave is joined over.
    """

    times_s: Array
    is_key: Mask
    repeats: Mask
    grey: bool
    cuts_s: tuple[float, ...] = ()


def frame_kinds(crops: FaceCrops) -> FrameKinds:
    """Return what is known of the frames of a recording that is estimated as a whole."""
    unknown = np.zeros(len(crops.times_s), np.bool_)
    return FrameKinds(
        times_s=crops.times_s,
        is_key=unknown if crops.is_key is None else crops.is_key,
        repeats=unknown if crops.repeats is None else crops.repeats,
        grey=is_grey(crops.frames),
        cuts_s=crops.cuts_s,
    )


def is_grey(frames: NDArray[np.uint8]) -> bool:
    """Return whether the three channels of frames are equal, up to rounding."""
    if frames.shape[-1] != 3:
        return False
    # A single frame is nearly always enough to see a colour.
    return all(bool(np.all(np.ptp(frame, axis=-1) <= 1)) for frame in frames)


def find_objections(
    frames: FrameKinds, fps: float, rates: RateSeries, bvp: Array, start_s: float
) -> Objections:
    """Return what speaks against the rates of a stretch: a reason for each window, or None.

    The frames have no colour, most of them repeat the one before, there are too few for the rate,
    the rate is that of the codec's keyframes, or the window lies on both sides of a cut.

    Args:
        frames: of the recording.
        fps: rate of `bvp` in Hz.
        rates: of W windows of the stretch.
        bvp: `(T,)` its filtered wave.
        start_s: the time at which it starts, on the clock of the frames.
    """
    count = len(rates.hr_bpm)
    if frames.grey:
        return (GREY,) * count
    windows_s = start_s + rates.start_s, start_s + rates.end_s
    new_s = frames.times_s[~frames.repeats]
    keyframes_s = frames.times_s[frames.is_key]
    if np.mean(frames.is_key) > 0.5:  # a codec without frames in between
        keyframes_s = keyframes_s[:0]
    conditions = (
        (is_frozen(new_s, *windows_s), FROZEN),
        (may_be_folded(rates.hr_bpm, new_s, *windows_s), FOLDED),
        (is_keyframe_rate(rates, bvp, fps, keyframes_s - start_s), KEYFRAMES),
        (_spans_cut(frames.cuts_s, *windows_s), CUT),
    )
    return tuple(
        next((reason for holds, reason in conditions if holds[index]), None)
        for index in range(count)
    )


def lower_quality(rates: RateSeries, objections: Objections) -> RateSeries:
    """Return the rates with quality 0 where there is an objection."""
    if not any(objections):
        return rates
    held = np.array([objection is None for objection in objections])
    return replace(rates, quality=np.where(held, rates.quality, 0.0))


def _spans_cut(cuts_s: tuple[float, ...], start_s: Array, end_s: Array) -> Mask:
    """Return for each window whether it has frames of both sides of a cut, `(W,)`."""
    found = np.zeros(len(start_s), np.bool_)
    for cut_s in cuts_s:
        found |= (start_s < cut_s) & (cut_s < end_s)
    return found
