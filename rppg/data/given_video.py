"""A video as it is given: a path, an array of frames, or frames as they come."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.data.stated_rate import StatedRateVideo, check_rate
from rppg.errors import InputError
from rppg.types import Video
from rppg.video.sources.frame_stream import FrameStream
from rppg.video.sources.in_memory import in_memory_video


def open_video(
    video: str | Path | NDArray[np.uint8] | Iterable[Any],
    timestamps: ArrayLike | None,
    fps: float | None,
) -> str | Path | Video:
    """Return the source of a video's frames.

    Args:
        video: a path; frames `(T, H, W, 3)` or `(T, H, W)`; or an iterable of frames, or of pairs
            of a time in seconds and a frame.
        timestamps: `(T,)` in seconds, of an array of frames.
        fps: frame rate in Hz, in place of timestamps.

    Raises:
        InputError: no clock, or two; something that is no video.
    """
    if fps is not None:
        check_rate(fps)
    if isinstance(video, str | Path):
        if timestamps is not None:
            raise InputError(
                f"{video}: a file has its own clock; leave timestamps out, or give fps if it is "
                "wrong"
            )
        return video if fps is None else StatedRateVideo(Path(video), fps)
    if not isinstance(video, np.ndarray):
        return _frame_stream(video, timestamps, fps)
    if timestamps is not None and fps is not None:
        raise InputError("both timestamps and fps; give one of them")
    if fps is not None:
        timestamps = np.arange(len(video)) / fps
    if timestamps is None:
        raise InputError(
            "frames without timestamps; give the time of each in seconds, such as "
            "np.arange(len(frames)) / 30 for 30 frames a second, or fps=30"
        )
    return in_memory_video(video, timestamps)


def _frame_stream(frames: object, timestamps: ArrayLike | None, fps: float | None) -> FrameStream:
    if not isinstance(frames, Iterable):
        raise InputError(
            f"a video of type {type(frames).__name__}; give a path, a NumPy array of frames "
            "(T, H, W, 3) with timestamps or fps, or an iterable of frames"
        )
    if timestamps is not None:
        raise InputError("an iterable of frames with timestamps; give zip(timestamps, frames)")
    return FrameStream(frames, fps)
