"""Face crops of a video, read in one pass and in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rppg.errors import InputError
from rppg.types import FaceCrops, Frame, Video, VideoInfo
from rppg.video.crop_stream import CropStream, box_around
from rppg.video.prefetch import prefetch
from rppg.video.resize import Box
from rppg.video.sources.video_file import VideoFile
from rppg.video.track import LOOKAHEAD_S
from rppg.video.tracked_crop import Crop

CROP_SIZE = 48
"""Default side of a crop in pixels, in prediction, training and export: on the validation domains
36 loses 0.2 dB, 54 and 72 gain nothing (`python -m benchmarks.crop_size`)."""
LEAST_S = 5.0
"""Shortest video: a few beats, and a frequency resolution of 0.2 Hz."""
LARGEST_BOX = 10
"""A face box may reach beyond the frame, but its sides are at most so many times the frame's."""
BUFFER_BYTES = 256e6
"""Limit for frames that wait for their box. Larger frames are reduced to stay below it."""


@dataclass(frozen=True)
class FaceRegion:
    """The face's location: a given box, the full frame, or (by default) to be detected."""

    box: Box | None = None
    full_frame: bool = False


@dataclass(frozen=True)
class VideoCrops:
    """Crops to be cut from a video, with everything that they depend on. Call it to read them."""

    video: Video
    face: FaceRegion = FaceRegion()
    size: int = CROP_SIZE

    def __call__(self) -> FaceCrops:
        """Read the crops."""
        return read_crops(
            self.video, size=self.size, box=self.face.box, full_frame=self.face.full_frame
        )


def read_crops(
    video: str | Path | Video,
    *,
    size: int = CROP_SIZE,
    box: Box | None = None,
    full_frame: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> FaceCrops:
    """Read a video and cut out the face.

    The face is detected several times a second and its box is smoothed over about a second, see
    `rppg.video.track`. The crop is `CROP_TO_FACE` times the face box, resampled by area with
    sub-pixel precision; outside the frame, edge pixels are repeated. Frames before the first
    detection repeat the first crop and are marked invalid, as are frames where the face was lost.
    After a hard cut to another face, tracking starts anew. Where another person comes after the
    face was lost (`rppg.video.person_changes`), that counts as a cut, too.

    A box is final after a few seconds. If the frames of that time don't fit into `BUFFER_BYTES`
    (larger than 720p at 30 Hz), frames are reduced by a whole number while decoding.

    Args:
        video: the path of a video file, or another source of frames.
        size: side of the crops in pixels.
        box: x, y, width, height of the face, forehead to chin, in pixels of the displayed frame.
            No face is detected then.
        full_frame: the crop is the whole frame, resized to a square. No face is detected then.
        start_s, duration_s: the part to read, in seconds; to the end if `duration_s` is None.

    Returns:
        Crops with times in seconds from the first frame read, and crop boxes in pixels of the
        displayed frame.

    Raises:
        InputError: a file that can't be read, less than `LEAST_S` of video, no face, a box that is
            empty or outside the frame, or a size below 2.
    """
    (crops,) = crop_pieces(
        video,
        size=size,
        box=box,
        full_frame=full_frame,
        start_s=start_s,
        duration_s=duration_s,
        piece_s=np.inf,
    )
    return crops


def crop_pieces(
    video: str | Path | Video,
    *,
    piece_s: float,
    size: int = CROP_SIZE,
    box: Box | None = None,
    full_frame: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[FaceCrops]:
    """Yield the crops of `read_crops` in pieces, so that memory doesn't grow with the length.

    Args:
        piece_s: length of a piece in seconds; the last is shorter. Times continue from piece to
            piece.

    Raises:
        InputError: as `read_crops` does. A video that is too short is reported at its end.
    """
    source = VideoFile(Path(video)) if isinstance(video, str | Path) else video
    path = source.name
    if size < 2:
        raise InputError(f"{path}: crops of {size} pixels; give a size of 2 or more")
    info = source.probe()
    crop = fixed_crop(path, info, box, full_frame=full_frame)
    reduce = reduction(info) if crop is None else 1
    frames = source.frames(start_s, duration_s, reduce=reduce)
    stream = CropStream(path, info, size, box=crop)
    return _collect(path, _cut_out(path, prefetch(frames), stream), size, piece_s)


def fixed_crop(name: str, info: VideoInfo, box: Box | None, *, full_frame: bool) -> Box | None:
    """Return the crop of a face whose box is known; None if it is to be tracked.

    Raises:
        InputError: as `read_crops`, for a box.
    """
    if box is not None and full_frame:
        raise InputError(f"{name}: both a box and the full frame are given; choose one")
    if full_frame:
        return 0.0, 0.0, float(info.width), float(info.height)
    return None if box is None else box_around(_check_box(name, box, info))


def _cut_out(path: str, frames: Iterator[Frame], stream: CropStream) -> Iterator[Crop]:
    is_empty = True
    for frame in frames:
        for crop in stream.add(frame):
            is_empty = False
            yield crop
    rest = stream.finish()
    if is_empty and not rest:
        raise InputError(
            f"{path}: no face found; give its box with --box x,y,w,h, or use "
            "--full-frame if the video shows little else"
        )
    yield from rest


def _collect(path: str, crops: Iterator[Crop], size: int, piece_s: float) -> Iterator[FaceCrops]:
    """Join crops to pieces of `piece_s`."""
    count, time_s, scene = 0, 0.0, 0
    more = True
    while more:
        times: list[float] = []
        boxes: list[Box] = []
        valid: list[bool] = []
        is_key: list[bool] = []
        repeats: list[bool] = []
        cuts_s: list[float] = []
        pixels = bytearray()  # grows in place; many small arrays would fragment the memory
        for crop in crops:
            time_s = crop.time_s
            times.append(time_s)
            boxes.append(crop.box)
            valid.append(crop.is_valid)
            is_key.append(crop.is_key)
            repeats.append(crop.repeats)
            cuts_s += [crop.time_s] if crop.scene != scene else []
            scene = crop.scene
            pixels += crop.pixels.tobytes()
            if time_s - times[0] >= piece_s:
                break
        else:
            more = False
        count += len(times)
        if not more:
            length_s = time_s * count / max(count - 1, 1)
            if length_s < LEAST_S - 1e-3:
                raise InputError(
                    f"{path}: {length_s:.1f} s of video; a pulse needs at least {LEAST_S:g} s, "
                    "record or read a longer part"
                )
        if times:
            frames = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, size, size, 3)
            yield FaceCrops(
                frames,
                np.array(times),
                np.array(valid),
                np.array(boxes),
                np.array(is_key),
                np.array(repeats),
                cuts_s=tuple(cuts_s),
            )


def reduction(info: VideoInfo) -> int:
    """Return the whole number by which frames are reduced so that the waiting ones fit."""
    waiting = max(1.0, min(info.fps, 240.0) * LOOKAHEAD_S)
    needed = info.width * info.height * 3 * waiting
    return max(1, int(np.ceil(np.sqrt(needed / BUFFER_BYTES))))


def _check_box(path: str, box: Box, info: VideoInfo) -> Box:
    x, y, width, height = box
    inside = x < info.width and y < info.height and x + width > 0 and y + height > 0
    fits = width <= LARGEST_BOX * info.width and height <= LARGEST_BOX * info.height
    if not (np.all(np.isfinite(box)) and width > 0 and height > 0 and inside and fits):
        raise InputError(
            f"{path}: the box {','.join(f'{v:g}' for v in box)} is not in the frame of "
            f"{info.width}x{info.height} pixels; give x,y,w,h of the face in pixels"
        )
    return box
