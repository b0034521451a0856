"""Frames in memory, each with its time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError
from rppg.signals.frame_rate import check_frame_rate
from rppg.types import Frame, VideoInfo
from rppg.video.resize import reduce_image
from rppg.video.sources.pixels import GREY, RGB, as_rgb, check_pixels
from rppg.video.time_range import select_time_range


@dataclass(frozen=True)
class InMemoryVideo:
    """Frames `(T, H, W, 3)` uint8 RGB, or grey `(T, H, W)`, with their times `(T,)` in seconds.

    Created by `in_memory_video`, which checks them. Times may be irregular and start anywhere.
    """

    rgb: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    name: str = "frames"
    files: tuple[Path, ...] = ()
    reading: str = "frames in memory"

    def probe(self) -> VideoInfo:
        count, height, width = self.rgb.shape[:3]
        length_s = float(self.times_s[-1] - self.times_s[0]) * count / (count - 1)
        return VideoInfo(width, height, count / length_s, length_s, count, rotation=0)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        first = self.times_s[0]
        frames = (
            Frame(float(time_s - first), reduce_image(as_rgb(rgb), reduce))
            for time_s, rgb in zip(self.times_s, self.rgb, strict=True)
        )
        return select_time_range(self.name, frames, start_s, duration_s)


def in_memory_video(rgb: NDArray[Any], times_s: ArrayLike) -> InMemoryVideo:
    """Return a video of frames `(T, H, W, 3)` uint8 RGB and their times `(T,)`.

    Times are in seconds, or `datetime64`. The frames are not copied. Grey frames `(T, H, W)` are
    read as those of a grey file.

    Raises:
        InputError: another shape or type; fewer than two frames; a different number of times than
            frames; times that are not finite or not increasing, or too far apart for a pulse, such
            as those in milliseconds.
    """
    grey = (rgb.ndim == 3 and rgb.shape[-1] != RGB) or (rgb.ndim == 4 and rgb.shape[-1] == GREY)
    if not (grey or (rgb.ndim == 4 and rgb.shape[-1] == RGB)) or 0 in rgb.shape:
        raise InputError(
            f"frames have shape {rgb.shape}; expected (frames, height, width, 3), colours last, "
            "or grey (frames, height, width)"
        )
    check_pixels(rgb)
    try:
        times = _seconds(np.asarray(times_s))
    except (TypeError, ValueError) as error:
        raise InputError(f"timestamps are not numbers ({error}); expected seconds") from error
    if times.shape != (len(rgb),) or len(rgb) < 2:
        raise InputError(
            f"{len(rgb)} frames but timestamps of shape {times.shape}; expected one per frame and "
            "at least two frames"
        )
    increasing = np.diff(times) > 0
    if not (np.all(np.isfinite(times)) and np.all(increasing)):
        index = int(np.argmin(increasing & np.isfinite(times[1:])))
        raise InputError(
            f"timestamps must be finite and increase, but {times[index]} s is followed by "
            f"{times[index + 1]} s (number {index + 1}); sort the frames and drop repeated ones"
        )
    check_frame_rate(times)
    return InMemoryVideo(rgb, times)


def _seconds(times: NDArray[Any]) -> NDArray[np.float64]:
    """Convert times to seconds: numbers are seconds, `datetime64` and `timedelta64` are exact."""
    if times.dtype.kind == "M":
        times = times - times[:1]  # relative: a date in seconds leaves a float few digits
    if times.dtype.kind == "m":
        times = np.where(np.isnat(times), np.nan, times / np.timedelta64(1, "s"))
    return np.asarray(times, dtype=np.float64)
