"""A video file whose frame times are in a second file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.decode_video import has_clock, log, probe, read_frames
from rppg.video.sources.identity import describe_function
from rppg.video.time_range import select_time_range

COUNTED_FPS = 30.0
"""Any rate at which the frames of a raw stream are counted: the second file has their times."""


@dataclass(frozen=True)
class TimestampedVideo:
    """A video file of nominally constant rate, with the true times of its frames.

    Attributes:
        path: the video file.
        clock: the file with the times.
        read_times: a function that reads the time of each frame from `clock`, in seconds.
    """

    path: Path
    clock: Path
    read_times: Callable[[Path], NDArray[np.float64]]

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.path, self.clock

    @property
    def reading(self) -> str:
        return f"video file, {describe_function(self.read_times)}"

    def probe(self) -> VideoInfo:
        return probe(self.path)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        return select_time_range(self.name, self._timed_frames(reduce), start_s, duration_s)

    def _timed_frames(self, reduce: int) -> Iterator[Frame]:
        fps = probe(self.path).fps if has_clock(self.path) else COUNTED_FPS
        if fps <= 0:
            raise InputError(f"{self.path}: the file has no frame rate; copy it again")
        times = self.read_times(self.clock)
        count = 0
        for frame in read_frames(self.path, reduce=reduce, raw_fps=COUNTED_FPS):
            count = round(frame.time_s * fps) + 1  # a frame that was left out keeps its time
            if count <= len(times):
                yield replace(frame, time_s=float(times[count - 1] - times[0]))
        if count != len(times):
            log.warning(
                "%s: %d frames, but %d times of frames; used as far as both go",
                self.path,
                count,
                len(times),
                extra={"kind": "lengths"},
            )
