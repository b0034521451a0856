"""What a frame rate allows: heart rates above half of it fold over to others, of which each looks
as real as a pulse.
"""

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.signals.filters import HIGH_HZ, LOW_HZ

Array = NDArray[np.float64]

LEAST_FPS = LOW_HZ + HIGH_HZ
"""At a lower frame rate, every rate of the band may be another one folded over: 36 bpm may be 198.
At twice the band's upper end, none is."""
MARGIN_HZ = 0.1
"""Distance of the band's upper end from half of the frame rate: half the width of a line of 10 s,
whose image has the same distance on the other side."""
UNITS = (("milliseconds", "1e3"), ("microseconds", "1e6"), ("nanoseconds", "1e9"))
USUAL_GAPS_S = (0.002, 0.5)


def frame_rate(times_s: Array) -> float:
    """Return the usual frame rate of frames at `times_s` `(T,)` in Hz: 1 / the median gap.

    Gaps, even long ones, don't change it. NaN for fewer than two frames.
    """
    return 1 / float(np.median(np.diff(times_s))) if len(times_s) > 1 else float("nan")


def upper_limit_hz(fps: float) -> float:
    """Return the upper end in Hz of the band of heart rates at a frame rate."""
    return min(HIGH_HZ, fps / 2 - MARGIN_HZ)


def lowest_folded_bpm(fps: float) -> float:
    """Return the heart rate in bpm from which a rate may be that of a faster pulse, folded over.

    A pulse of r bpm above half of the frame rate looks like one of 60 fps - r. Infinite where no
    pulse of the band is so fast.
    """
    return 60 * (fps - HIGH_HZ) if fps < 2 * HIGH_HZ else float("inf")


def is_frozen(new_s: Array, start_s: Array, end_s: Array) -> NDArray[np.bool_]:
    """Return whether windows show fewer new frames than a heart rate needs.

    Args:
        new_s: `(T,)` times in seconds of the frames that don't repeat the one before.
        start_s: `(W,)` starts of the windows in seconds.
        end_s: `(W,)` ends of the windows in seconds.
    """
    count = np.searchsorted(new_s, end_s, side="right") - np.searchsorted(new_s, start_s)
    return np.asarray(count < 0.5 * LEAST_FPS * (end_s - start_s))


def may_be_folded(hr_bpm: Array, times_s: Array, start_s: Array, end_s: Array) -> NDArray[np.bool_]:
    """Return whether the heart rates of windows may be those of faster pulses, folded over.

    Args:
        hr_bpm: `(W,)`, NaN where there is none.
        times_s: `(T,)` times of the frames in seconds.
        start_s: `(W,)` starts of the windows in seconds.
        end_s: `(W,)` ends of the windows in seconds.
    """
    first, last = np.searchsorted(times_s, start_s), np.searchsorted(times_s, end_s, side="right")
    fps = [frame_rate(times_s[a:b]) for a, b in zip(first, last, strict=True)]
    lowest = np.array([lowest_folded_bpm(f) for f in fps])
    return np.asarray(hr_bpm >= lowest)


def check_frame_rate(times_s: Array, name: str = "") -> None:
    """Raise an InputError, which begins with `name`, if the frames are too far apart for a pulse.

    Args:
        times_s: `(T,)` times of the frames in seconds.
        name: of the video; empty if it is added elsewhere.
    """
    fps = frame_rate(times_s)
    if not fps < LEAST_FPS:
        return
    gap_s = 1 / fps
    remedy = f"record 20 a second or more, at least {LEAST_FPS:g}"
    low, high = USUAL_GAPS_S
    for unit, scale in UNITS:
        if low <= gap_s / float(scale) <= high and gap_s > high:
            remedy = f"are the times in seconds? If they are {unit}, divide them by {scale}"
            break
    else:
        if gap_s > high:
            remedy += "; are the times in seconds?"
    where = f"{name}: " if name else ""
    raise InputError(
        f"{where}{len(times_s)} frames over {_length(times_s[-1] - times_s[0])}, a frame every "
        f"{gap_s:.{1 if gap_s > high else 2}f} s, too slow for a pulse; {remedy}"
    )


def _length(seconds: float) -> str:
    return f"{seconds / 86400:.3g} days" if seconds > 86400 else f"{seconds:.1f} s"
