"""What speaks against heart rates, beside the evidence from the pixels: the frames themselves."""

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.streaming import Estimate
from rppg.signals import RateSeries
from rppg.signals.frame_rate import is_frozen, may_be_folded
from rppg.signals.keyframes import is_keyframe_rate
from rppg.signals.reasons import FOLDED, FROZEN, GREY, KEYFRAMES

Array = NDArray[np.float64]


def find_objections(
    estimated: Estimate, fps: float, rates: RateSeries, bvp: Array, start_s: float
) -> tuple[str | None, ...]:
    """Return what speaks against the rates of a stretch: a reason for each window, or None.

    The frames have no colour, most of them repeat the one before, there are too few for the rate,
    or the rate is that of the codec's keyframes.

    Args:
        estimated: the recording, with its frames' times and kinds.
        fps: rate of `bvp` in Hz.
        rates: of W windows of the stretch.
        bvp: `(T,)` its filtered wave.
        start_s: the time at which it starts, on the clock of the frames.
    """
    count = len(rates.hr_bpm)
    if estimated.grey:
        return (GREY,) * count
    windows_s = start_s + rates.start_s, start_s + rates.end_s
    new_s = estimated.times_s[~estimated.repeats]
    keyframes_s = estimated.times_s[estimated.is_key]
    if np.mean(estimated.is_key) > 0.5:  # a codec without frames in between
        keyframes_s = keyframes_s[:0]
    conditions = (
        (is_frozen(new_s, *windows_s), FROZEN),
        (may_be_folded(rates.hr_bpm, new_s, *windows_s), FOLDED),
        (is_keyframe_rate(rates, bvp, fps, keyframes_s - start_s), KEYFRAMES),
    )
    return tuple(
        next((reason for holds, reason in conditions if holds[index]), None)
        for index in range(count)
    )
