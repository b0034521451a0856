"""Pictures in memory, each with the time it was taken."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.sources.source import reduced, span


@dataclass(frozen=True)
class TimedFrames:
    """Frames `(T, H, W, 3)` uint8 RGB with their times `(T,)` in seconds, as a source of pictures.

    Made by `timed_frames`, which checks them. Times may be uneven and start anywhere.
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
        each = (
            Frame(float(time_s - first), reduced(rgb, reduce))
            for time_s, rgb in zip(self.times_s, self.rgb, strict=True)
        )
        return span(self.name, each, start_s, duration_s)


def timed_frames(rgb: NDArray[Any], times_s: ArrayLike) -> TimedFrames:
    """Frames `(T, H, W, 3)` uint8 RGB and their times `(T,)` in seconds; nothing is copied.

    Raises:
        InputError: another shape or type; fewer than two frames; times that are not one for each
            frame, not finite, or not increasing.
    """
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or 0 in rgb.shape:
        raise InputError(
            f"frames have shape {rgb.shape}; expected (frames, height, width, 3), colours last"
        )
    if rgb.dtype != np.uint8:
        raise InputError(
            f"frames are {rgb.dtype}; expected uint8, 0 to 255; from 0 to 1 convert with "
            "np.rint(255 * frames).astype(np.uint8)"
        )
    try:
        times = np.asarray(times_s, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"timestamps are not numbers ({error}); expected seconds") from error
    if times.shape != (len(rgb),) or len(rgb) < 2:
        raise InputError(
            f"{len(rgb)} frames but timestamps of shape {times.shape}; expected one for each of at "
            "least two frames"
        )
    rising = np.diff(times) > 0
    if not (np.all(np.isfinite(times)) and np.all(rising)):
        at = int(np.argmin(rising & np.isfinite(times[1:])))
        raise InputError(
            f"timestamps must be finite and increase, but {times[at]} s is followed by "
            f"{times[at + 1]} s (number {at + 1}); sort the frames and drop repeated ones"
        )
    return TimedFrames(rgb, times)
