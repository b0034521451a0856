"""A video file at a frame rate that its user states, whatever rate the file has."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.decode_video import has_clock, probe, read_frames
from rppg.video.time_range import select_time_range

FPS_RANGE = (1.0, 1000.0)


def check_rate(fps: float, where: str = "") -> None:
    """Raise an InputError, which begins with `where`, unless a frame rate in Hz is possible."""
    low, high = FPS_RANGE
    if not low <= fps <= high:
        raise InputError(f"{where}fps is {fps:g}; expected {low:g} to {high:g} frames a second")


@dataclass(frozen=True)
class StatedRateVideo:
    """A video file whose frame rate is stated: recorded at 15 fps, but stored as 30, for example.

    The file's times are scaled by the ratio of both rates, so that a damaged frame that is left out
    leaves a gap. The frames of a raw stream, which has no times, are counted.

    Attributes:
        path: the video file.
        fps: its frame rate in Hz.
    """

    path: Path
    fps: float

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def reading(self) -> str:
        return f"video file, at {self.fps} Hz"

    def probe(self) -> VideoInfo:
        info = probe(self.path)
        duration_s = info.frames / self.fps if info.frames else 0.0
        return replace(info, fps=self.fps, duration_s=duration_s)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        return select_time_range(self.name, self._timed_frames(reduce), start_s, duration_s)

    def _timed_frames(self, reduce: int) -> Iterator[Frame]:
        if not has_clock(self.path):
            yield from read_frames(self.path, reduce=reduce, raw_fps=self.fps)
            return
        stored_fps = probe(self.path).fps
        for index, frame in enumerate(read_frames(self.path, reduce=reduce)):
            position = index if stored_fps <= 0 else frame.time_s * stored_fps
            yield replace(frame, time_s=position / self.fps)
