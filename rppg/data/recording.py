"""A record from its parts: how every loader makes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rppg.types import FaceCrops, HeartRate, Pulse, Record
from rppg.video.crop import CROP_SIZE, read_crops
from rppg.video.resize import Box
from rppg.video.sources.source import Video


@dataclass(frozen=True)
class Face:
    """Where the face is: looked for, unless a box is given or the whole picture is the face."""

    box: Box | None = None
    full_frame: bool = False


@dataclass(frozen=True)
class VideoCrops:
    """Crops to be cut from a video: all that they depend on. When called, it reads them."""

    video: Video
    face: Face = Face()
    size: int = CROP_SIZE

    def __call__(self) -> FaceCrops:
        return read_crops(
            self.video, size=self.size, box=self.face.box, full_frame=self.face.full_frame
        )


@dataclass(frozen=True)
class Recording:
    """What a loader finds in a dataset; attributes as of `Record`.

    `face` is None where the layout doesn't say where the face is. `truth` and `rate` read the
    ground truth when asked.
    """

    name: str
    subject: str
    video: Video
    truth: Callable[[], Pulse] | None = None
    rate: Callable[[], HeartRate] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    per_frame: bool = False
    face: Face | None = None

    def record(self, dataset: str, face: Face | None = None) -> Record:
        """As a record of `dataset`; `face` takes the place of what the layout says."""
        where = face or self.face or Face()
        return Record(
            name=self.name,
            dataset=dataset,
            subject=self.subject,
            load_crops=VideoCrops(self.video, where),
            load_truth=self.truth,
            metadata=self.metadata,
            load_rate=self.rate,
            video=self.video,
            files=self.files,
            per_frame=self.per_frame,
        )
