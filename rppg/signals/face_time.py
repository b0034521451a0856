"""The time for which a recording shows the face: what a heart rate needs of it.

A pulse needs seconds of a face, however long the recording goes on without one. So enough face is a
time, not a share.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.signals.quality import RELIABLE
from rppg.signals.rates import RateSeries
from rppg.signals.spans import true_spans

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Span = tuple[int, int]
"""The first sample, and the one after the last."""

LEAST_FACE_S = 5.0
"""Time of valid face that a heart rate needs."""
RELIABLE_FACE_S = 10.0
"""Time of valid face that a reliable heart rate needs."""
LONGEST_S = 0.5
"""A frame stands for no longer time, however late the next one is."""
SLACK_S = 1e-3
"""So much less is still enough: the sum of rounded times."""
TOO_SHORT = f"the face is in view for less than {RELIABLE_FACE_S:g} s"


def face_seconds(times_s: Array, valid: Mask) -> float:
    """Return the time for which the frames `(T,)` that show the face stand, in seconds.

    A frame stands for the time to the next one, up to `LONGEST_S`; the last frame for the median of
    the others.
    """
    each = np.minimum(np.diff(times_s), LONGEST_S)
    each = np.append(each, np.median(each)) if len(each) else np.zeros(len(times_s))
    return float(np.sum(each[valid]))


def is_short(times_s: Array, valid: Mask) -> bool:
    """Return whether the face is in view for too short a time to call a heart rate reliable."""
    return face_seconds(times_s, valid) < RELIABLE_FACE_S - SLACK_S


def least_share(window_s: float) -> float:
    """Return the share of a window of this length that must show the face: `LEAST_FACE_S` of it."""
    return min(1.0, LEAST_FACE_S / window_s)


def seen_spans(valid: Mask, fps: float, window_s: float) -> list[Span]:
    """Return the spans that windows with enough face cover, each from a valid sample to one.

    Args:
        valid: `(T,)` on a uniform grid.
        fps: rate of the grid in Hz.
        window_s: length of a window in seconds.
    """
    length = round(window_s * fps)
    before = np.concatenate([[0], np.cumsum(valid)])
    starts = np.flatnonzero(before[length:] - before[:-length] >= least_share(window_s) * length)
    change = np.zeros(len(valid) + 1, dtype=np.int64)
    change[starts] += 1
    change[starts + length] -= 1
    spans = []
    for first, end in true_spans(np.cumsum(change[:-1]) > 0):
        inside = first + np.flatnonzero(valid[first:end])
        spans.append((int(inside[0]), int(inside[-1]) + 1))
    return spans


def with_reason(reasons: Sequence[str | None], reason: str) -> tuple[str, ...]:
    """Return the reasons of windows `(W,)`, with `reason` where there was none."""
    return tuple(reason if before is None else before for before in reasons)


def limit_quality(rates: RateSeries) -> RateSeries:
    """Return rates of which none is reliable, for a recording with too little of a face."""
    return replace(rates, quality=np.minimum(rates.quality, np.nextafter(RELIABLE, 0)))
