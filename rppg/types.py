"""The types that flow between the stages: video frames, face crops, ground truth, recordings.

Ground truth is kept apart from the video: training is given `FaceCrops` only and has no way to
reach a label.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CROP_TO_FACE = 1.5
"""Side of a square crop in units of the face box's side: the face with some background around."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header says, rotation applied.

    Attributes:
        width, height: pixels, as displayed.
        fps: mean frame rate in Hz, 0 where the header has none.
        duration_s: seconds, 0 where the header has none.
        frames: estimated number of frames, 0 where it can't be told.
        rotation: degrees counter-clockwise by which the stored picture is turned for display:
            0, 90, 180 or 270.
    """

    width: int
    height: int
    fps: float
    duration_s: float
    frames: int
    rotation: int


@dataclass(frozen=True)
class Frame:
    """One picture, `time_s` seconds from the first frame read.

    Attributes:
        picture: `(H, W, 3)` uint8 RGB, or what makes it: as the codec leaves it, with colour at
            half the resolution, a picture takes half the memory.
    """

    time_s: float
    picture: NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8; made anew each time where it isn't kept."""
        return self.picture if isinstance(self.picture, np.ndarray) else self.picture()


class Video(Protocol):
    """A source of pictures, opened only when asked.

    `name` stands in messages. `files` are those that the pictures and their times come from, none
    where they are in memory only; `reading` says how they become pictures, with all else that
    these depend on but not where the files lie. `probe` tells the size and rate; `frames` gives
    the pictures, with the arguments and errors of `rppg.video.read_frames`.
    """

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def reading(self) -> str: ...

    def probe(self) -> VideoInfo: ...

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class FaceCrops:
    """Square crops that follow one face, on the video's own clock.

    Attributes:
        frames: `(T, S, S, C)` uint8. The face box is the central `1 / CROP_TO_FACE` of the side;
            around it lies background.
        times_s: `(T,)` float64, strictly increasing, seconds from the first frame.
        valid: `(T,)` bool, False where the face was lost (the crop is then of the last known box).
        boxes: `(T, 4)` float64, the crop's x, y, width, height in pixels of the video, or None
            where the crops were not cut from a larger picture.
    """

    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    valid: NDArray[np.bool_]
    boxes: NDArray[np.float64] | None = None

    @property
    def fps(self) -> float:
        """Mean frame rate in Hz."""
        return float((len(self.times_s) - 1) / (self.times_s[-1] - self.times_s[0]))

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last, in seconds."""
        return float(self.times_s[-1] - self.times_s[0])


@dataclass(frozen=True)
class Pulse:
    """Ground truth: a contact BVP with timestamps of its own, on the video's clock.

    Attributes:
        times_s: `(N,)` float64, seconds from the first frame.
        bvp: `(N,)` float64, arbitrary units, up at systole; NaN where the dataset has none, or
            says that it is bad.
    """

    times_s: NDArray[np.float64]
    bvp: NDArray[np.float64]


@dataclass(frozen=True)
class HeartRate:
    """The heart rate that a dataset gives beside its BVP.

    Attributes:
        times_s: `(N,)` float64, seconds from the first frame.
        bpm: `(N,)` float64.
    """

    times_s: NDArray[np.float64]
    bpm: NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One recording of a dataset; pictures and ground truth are read only when asked for.

    Attributes:
        name: unique within its dataset.
        subject: recordings of one subject share it; splits never separate them.
        metadata: what is known about the recording (skin type, motion, light, camera).
        load_crops: reads the crops.
        dataset: the dataset it belongs to, with version where it has one (`synthetic:webcam@1`).
        load_truth: reads the ground truth, or None where there is none.
        load_rate: reads the heart rate that the dataset gives, or None where it gives none.
        video: the pictures that the crops are cut from, or None where there are only crops.
        files: what has to be there for the record to be whole.
        per_frame: whether the ground truth has one value for each frame.
        spec: what it was found by, where it was by a SPEC.
        split: the part of the dataset that was asked for: `train`, `validation`, `test` or `all`.
    """

    name: str
    subject: str
    load_crops: Callable[[], FaceCrops]
    dataset: str = ""
    load_truth: Callable[[], Pulse] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    load_rate: Callable[[], HeartRate] | None = None
    video: Video | None = None
    files: tuple[Path, ...] = ()
    per_frame: bool = False
    spec: str = ""
    split: str = ""
