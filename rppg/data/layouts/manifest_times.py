"""The times that a row of a manifest gives its video: a rate, a time for each frame, a start."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rppg.data.image_folder import ImageFolder
from rppg.data.reading import (
    Array,
    column,
    read_column,
    read_table,
    read_text,
    replace_far_off,
    split_header,
)
from rppg.data.stated_rate import StatedRateVideo, check_rate
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Video
from rppg.video.sources.image_sequence import nanosecond_clock, number_clock
from rppg.video.sources.timestamped_file import TimestampedVideo
from rppg.video.sources.video_file import VideoFile


@dataclass(frozen=True)
class RowTimes:
    """The columns `fps`, `start_s` and `frame_times` of a row; None where it gives none.

    Attributes:
        fps: frame rate in Hz.
        start_s: time of the first frame on the ground truth's clock.
        clock: file with the times of all frames on the ground truth's clock.
    """

    fps: float | None = None
    start_s: float | None = None
    clock: Path | None = None

    def check(self, where: str, video: Path) -> None:
        """Raise an InputError, which begins with `where`, if the columns contradict each other."""
        if self.fps is not None:
            check_rate(self.fps, f"{where}: ")
        if self.clock is None:
            return
        if self.fps is not None or self.start_s is not None:
            other = "fps" if self.fps is not None else "start_s"
            raise InputError(
                f"{where}: both {other} and frame_times, which has all times; leave one empty"
            )
        if video.is_dir():
            raise InputError(
                f"{where}: frame_times for a folder of images; name the images by nanoseconds, or "
                "number them and give fps"
            )

    def video(self, path: Path) -> Video:
        """Return the source of the frames in a file or in a folder of images."""
        if path.is_dir():
            return ImageFolder(
                path, nanosecond_clock if self.fps is None else number_clock(self.fps)
            )
        if self.clock is not None:
            return TimestampedVideo(path, self.clock, read_frame_times)
        return VideoFile(path) if self.fps is None else StatedRateVideo(path, self.fps)

    def on_video_clock(self, read: Callable[[], Pulse]) -> Pulse:
        """Read ground truth, with times from the first frame."""
        truth = read()
        return Pulse(truth.times_s - self._first_s(), truth.bvp)

    def rate_on_video_clock(self, read: Callable[[], HeartRate]) -> HeartRate:
        """Read heart rates, with times from the first frame."""
        rate = read()
        return HeartRate(rate.times_s - self._first_s(), rate.bpm)

    def _first_s(self) -> float:
        """Return the time of the first frame on the ground truth's clock."""
        if self.clock is not None:
            return float(read_frame_times(self.clock)[0])
        return self.start_s or 0.0


def read_frame_times(path: Path) -> Array:
    """Read the times of a video's frames in seconds, `(T,)`: one per line, or a column `time_s`.

    Times that are far off the others are replaced, with a warning.

    Raises:
        InputError: an unreadable file, or a time that isn't a finite number.
    """
    names, _ = split_header(read_text(path).lower())
    times = column(read_table(path), "time_s", path) if "time_s" in names else read_column(path)
    if not np.all(np.isfinite(times)):
        raise InputError(f"{path}: times that are not finite; give one for each frame")
    return replace_far_off(times, path)


def parse_number(row: Mapping[str, str], name: str, where: str) -> float | None:
    """Return a number from a column of a row; None if it is empty or not there.

    Raises:
        InputError: not a finite number.
    """
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is {text[:40]!r}; expected a number")
    return value
