"""A video file with its own timestamps."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rppg.types import Frame, VideoInfo
from rppg.video.decode_video import probe, read_frames


@dataclass(frozen=True)
class VideoFile:
    """A video file with its own timestamps."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def reading(self) -> str:
        return "video file"

    def probe(self) -> VideoInfo:
        return probe(self.path)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        return read_frames(self.path, start_s, duration_s, reduce=reduce)
