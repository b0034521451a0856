"""The part of a video between two times."""

import logging
import math
from collections.abc import Iterator
from dataclasses import replace

from rppg.errors import InputError
from rppg.types import Frame

log = logging.getLogger(__name__)


def check_time_range(name: str, start_s: float, duration_s: float | None) -> None:
    """Raise an InputError unless the start is 0 or more and the duration is positive."""
    if not (0 <= start_s < math.inf and (duration_s is None or duration_s > 0)):
        raise InputError(
            f"{name}: start {start_s} s, duration {duration_s} s; give a start of 0 or more and "
            "a positive duration"
        )


def select_time_range(
    name: str, frames: Iterator[Frame], start_s: float, duration_s: float | None
) -> Iterator[Frame]:
    """Yield the frames of a time range, the first with time 0.

    Frames whose time isn't later than that of the frame before are left out, and a warning gives
    their number. Frames after the range are never read.

    Raises:
        InputError: an invalid range, or no frame in it.
    """
    check_time_range(name, start_s, duration_s)
    first = last = None
    unordered = 0
    for frame in frames:
        if frame.time_s < start_s - 1e-6:
            continue
        if last is not None and frame.time_s <= last:
            unordered += 1
            continue
        if first is None:
            first = frame.time_s
        if duration_s is not None and frame.time_s - first >= duration_s - 1e-6:
            break
        last = frame.time_s
        yield replace(frame, time_s=frame.time_s - first)
    if unordered:
        log.warning(
            "%s: %d frames have a time not after the frame before; they are left out",
            name,
            unordered,
        )
    if first is None:
        raise InputError(f"{name}: no frame from {start_s} s on; check the files")
