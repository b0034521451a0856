"""The types that the stages exchange: video frames, face crops, ground truth, recordings.

Ground truth is kept apart from the video. Training receives `FaceCrops` only and cannot reach a
label.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rppg.renamed import renamed

CROP_TO_FACE = 1.5
"""Side of a square crop divided by the side of the face box. The rest is background."""


@dataclass(frozen=True)
class VideoInfo:
    """A video's properties as its header states them, after rotation.

    Attributes:
        width, height: pixels, as displayed.
        fps: mean frame rate in Hz, 0 if the header has none.
        duration_s: seconds, 0 if the header has none.
        frames: estimated number of frames, 0 if unknown.
        rotation: degrees counter-clockwise by which the stored frames are rotated for display:
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
    """One frame of a video, `time_s` seconds after the first frame read.

    Attributes:
        image: `(H, W, 3)` uint8 RGB, or a function that returns it. Frames that wait in memory are
            kept as the codec decoded them, with colour at half the resolution, which takes half
            the memory of RGB.
        is_key: whether the codec stored it whole, not as a change of others; False if the frames
            don't come from a codec.
    """

    time_s: float
    image: NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]
    is_key: bool = False

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8. Converted on every access if `image` is a function."""
        return self.image if isinstance(self.image, np.ndarray) else self.image()

    @property
    def picture(self) -> NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]:
        """The old name of `image`."""
        warnings.warn("Frame.picture is now Frame.image", DeprecationWarning, stacklevel=2)
        return self.image


class Video(Protocol):
    """A source of frames, opened only when they are read.

    Attributes:
        name: the name used in messages.
        files: the files that the frames and their times are read from; empty for frames in memory.
        reading: a description of how the files become frames. It covers everything that the frames
            depend on except the files' content and location.

    Methods:
        probe: returns size and frame rate.
        frames: yields the frames, with the arguments and errors of `rppg.video.read_frames`.
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
    """Square crops that follow one face, with the video's own timestamps.

    Attributes:
        frames: `(T, S, S, C)` uint8. The face box is the central `1 / CROP_TO_FACE` of the side;
            the rest is background.
        times_s: `(T,)` float64, strictly increasing, seconds from the first frame.
        valid: `(T,)` bool, False where the face was lost. The crop then shows the last known box.
        boxes: `(T, 4)` float64, the crop's x, y, width, height in pixels of the video, or None if
            the crops were not cut from a larger frame.
        is_key: `(T,)` bool, True where the codec stored the frame whole; None if it is unknown.
        repeats: `(T,)` bool, True where the whole frame repeats the one before, pixel by pixel;
            None if it is unknown.
        cuts_s: times of the first frames after hard cuts (`rppg.video.scene_cuts`), and of those of
            another person after the face was lost (`rppg.video.person_changes`).
    """

    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    valid: NDArray[np.bool_]
    boxes: NDArray[np.float64] | None = None
    is_key: NDArray[np.bool_] | None = None
    repeats: NDArray[np.bool_] | None = None
    cuts_s: tuple[float, ...] = field(default=(), kw_only=True)

    def part(self, part: slice) -> "FaceCrops":
        """Return the crops of some frames, at least one."""
        times_s = self.times_s[part]
        return FaceCrops(
            self.frames[part],
            times_s,
            self.valid[part],
            None if self.boxes is None else self.boxes[part],
            None if self.is_key is None else self.is_key[part],
            None if self.repeats is None else self.repeats[part],
            cuts_s=tuple(cut for cut in self.cuts_s if times_s[0] <= cut <= times_s[-1]),
        )

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
    """Ground truth: a contact BVP with its own timestamps, on the video's clock.

    Attributes:
        times_s: `(N,)` float64, seconds from the first frame.
        bvp: `(N,)` float64, arbitrary units, systole is up. NaN where the dataset has no value or
            marks it as bad.
    """

    times_s: NDArray[np.float64]
    bvp: NDArray[np.float64]


@dataclass(frozen=True)
class HeartRate:
    """The heart rate that a dataset provides in addition to its BVP.

    Attributes:
        times_s: `(N,)` float64, seconds from the first frame.
        bpm: `(N,)` float64.
    """

    times_s: NDArray[np.float64]
    bpm: NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One recording of a dataset. Crops and ground truth are read only on request.

    Attributes:
        name: unique within its dataset.
        subject: the person; a split never separates recordings of one subject.
        load_crops: reads the crops.
        dataset: the dataset it belongs to, with its version if it has one (`synthetic:webcam@1`).
        load_truth: reads the ground truth; None if there is none.
        metadata: properties of the recording (skin type, motion, light, camera).
        load_rate: reads the heart rate that the dataset provides; None if it provides none.
        video: the video that the crops are cut from; None if there are only crops.
        files: the files that must exist for the recording to be complete.
        per_frame: whether the ground truth has one value per frame.
        spec: the SPEC that it was opened with; empty if it wasn't opened with one.
        split: the part of the dataset that was requested: `train`, `validation`, `test` or `all`.
        rate_only: whether the ground truth is heart rates without a wave. `load_truth` then reads
            a sine with these rates.
        rate_file: the file that `load_rate` reads, if it isn't the ground truth's.
    """

    name: str
    dataset: str
    subject: str
    load_crops: Callable[[], FaceCrops]
    load_truth: Callable[[], Pulse] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    load_rate: Callable[[], HeartRate] | None = None
    video: Video | None = None
    files: tuple[Path, ...] = ()
    per_frame: bool = False
    spec: str = ""
    split: str = ""
    rate_only: bool = False
    rate_file: Path | None = None


if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"Record": ("rppg.types.Recording", Recording)})
