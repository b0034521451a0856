"""Face crops of a video, read in one pass and in bounded memory."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import CROP_TO_FACE, FaceCrops, Frame, Video, VideoInfo
from rppg.video.prefetch import prefetch
from rppg.video.resize import Box, resample_box_uint8
from rppg.video.scene_cuts import SceneCuts, is_same_face, same_look_in
from rppg.video.sources.video_file import VideoFile
from rppg.video.threads import one_thread
from rppg.video.track import LOOKAHEAD_S, FaceTrack

log = logging.getLogger(__name__)

CROP_SIZE = 48
"""Default side of a crop in pixels, in prediction, training and export: on the validation domains
36 loses 0.2 dB, 54 and 72 gain nothing (`python -m benchmarks.crop_size`)."""
LEAST_S = 5.0
"""Shortest video: a few beats, and a frequency resolution of 0.2 Hz."""
HOLE_S = 0.5
"""Frames on both sides of a longer gap between timestamps are invalid."""
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
    After a hard cut to another face, tracking starts anew.

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
    if box is not None and full_frame:
        raise InputError(f"{path}: both a box and the full frame are given; choose one")
    info = source.probe()
    if box is not None or full_frame:
        crop = (0.0, 0.0, float(info.width), float(info.height))
        if box is not None:
            crop = _crop_box(_check_box(path, box, info))
        cuts = SceneCuts(path, same_look_in(crop))
        frames = cuts.scenes(prefetch(source.frames(start_s, duration_s)))
        crops = _fixed_crops((frame for _, frame in frames), crop, size)
    else:
        cuts = SceneCuts(path, is_same_face)
        frames = cuts.scenes(prefetch(source.frames(start_s, duration_s, reduce=reduction(info))))
        crops = _warn_of_loss(path, _tracked_crops(path, frames, info, size))
    return _collect(path, _invalidate_holes(path, crops), size, piece_s, cuts)


class Crop(NamedTuple):
    """A crop of a frame; `box` is that of the crop in pixels of the file."""

    time_s: float
    pixels: NDArray[np.uint8]
    box: Box
    is_valid: bool
    is_key: bool
    repeats: bool


Tracked = tuple[NDArray[np.uint8], Box, bool]
"""Pixels, crop box in pixels of the file, validity."""


class _Repeats:
    """The frames that repeat the one before, pixel by pixel. Remembers one frame."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def __call__(self, rgb: NDArray[np.uint8]) -> bool:
        """Return whether a frame equals that of the last call."""
        last, self._last = self._last, rgb
        if last is None or last.shape != rgb.shape:
            return False
        row = len(rgb) // 2  # nearly always enough to see a difference
        return np.array_equal(last[row], rgb[row]) and np.array_equal(last, rgb)


def _fixed_crops(frames: Iterator[Frame], crop: Box, size: int) -> Iterator[Crop]:
    repeats = _Repeats()
    for frame in frames:
        rgb = frame.rgb
        pixels = _resample(rgb, crop, size)
        yield Crop(frame.time_s, pixels, crop, True, frame.is_key, repeats(rgb))


def _tracked_crops(
    path: str, frames: Iterator[tuple[int, Frame]], info: VideoInfo, size: int
) -> Iterator[Crop]:
    """Yield crops of the face, which is tracked anew in each scene."""
    early: list[tuple[float, bool, bool]] = []  # times and flags before the first detection
    last: Crop | None = None
    repeats = _Repeats()
    for number, scene in groupby(frames, key=itemgetter(0)):
        # After a cut the face is there at once, or comes later.
        track = FaceTrack(name=path) if number == 0 else FaceTrack(name=path, lead_s=0.0)
        of_scene = (frame for _, frame in scene)
        for frame, rgb, tracked in _track_scene(track, of_scene, info, size):
            flags = frame.is_key, repeats(rgb)
            if tracked is not None:
                last = Crop(frame.time_s, *tracked, *flags)
                for before_s, *before in early:
                    yield Crop(before_s, last.pixels, last.box, False, *before)
                early.clear()
                yield last
            elif last is not None:
                yield Crop(frame.time_s, last.pixels, last.box, False, *flags)
            else:
                early.append((frame.time_s, *flags))
    if last is None:
        raise InputError(
            f"{path}: no face found; give its box with --box x,y,w,h, or use "
            "--full-frame if the video shows little else"
        )


def _track_scene(
    track: FaceTrack, frames: Iterator[Frame], info: VideoInfo, size: int
) -> Iterator[tuple[Frame, NDArray[np.uint8], Tracked | None]]:
    """Yield each frame, its pixels and its crop, once its box is final; None if it has no box."""
    waiting: deque[Frame] = deque()
    for frame in chain(frames, [None]):
        if frame is not None:
            track.add_frame(frame)
            waiting.append(frame)
        else:
            track.finish()
        while waiting and track.is_final(waiting[0].time_s):
            shown = waiting.popleft()
            rgb = shown.rgb
            yield shown, rgb, _tracked_crop(track, shown.time_s, rgb, info, size)


def _tracked_crop(
    track: FaceTrack, time_s: float, rgb: NDArray[np.uint8], info: VideoInfo, size: int
) -> Tracked | None:
    tracked = track.box_at(time_s)
    if tracked is None:
        return None
    box, valid = tracked
    x, y, width, height = _crop_box(box)
    scale_x, scale_y = info.width / rgb.shape[1], info.height / rgb.shape[0]
    crop = _resample(rgb, (x, y, width, height), size)
    return crop, (x * scale_x, y * scale_y, width * scale_x, height * scale_y), valid


def _warn_of_loss(path: str, crops: Iterator[Crop]) -> Iterator[Crop]:
    """Yield the same crops, and warn at their end if the face is lost in some."""
    count = lost = 0
    for crop in crops:
        count += 1
        lost += not crop.is_valid
        yield crop
    if lost:
        log.warning("%s: the face is lost in %.0f %% of the frames", path, 100 * lost / count)


def _invalidate_holes(path: str, crops: Iterator[Crop]) -> Iterator[Crop]:
    """Mark the crops on both sides of a gap between timestamps as invalid, and warn of gaps."""
    last: Crop | None = None
    count, total_s, longest = 0, 0.0, (0.0, 0.0)
    for crop in crops:
        current = crop
        if last is not None:
            hole_s = current.time_s - last.time_s
            if hole_s > HOLE_S:
                count, total_s = count + 1, total_s + hole_s
                longest = max(
                    longest, (last.time_s, current.time_s), key=lambda hole: hole[1] - hole[0]
                )
                last, current = last._replace(is_valid=False), current._replace(is_valid=False)
            yield last
        last = current
    if last is not None:
        yield last
    if count:
        more = f", the longest of {count} gaps, {total_s:.1f} s together" if count > 1 else ""
        log.warning("%s: no frames from %.1f s to %.1f s%s", path, *longest, more)


def _collect(
    path: str, crops: Iterator[Crop], size: int, piece_s: float, cuts: SceneCuts
) -> Iterator[FaceCrops]:
    """Join crops to pieces of `piece_s`."""
    count, time_s = 0, 0.0
    more = True
    while more:
        times: list[float] = []
        boxes: list[Box] = []
        valid: list[bool] = []
        is_key: list[bool] = []
        repeats: list[bool] = []
        pixels = bytearray()  # grows in place; many small arrays would fragment the memory
        for crop in crops:
            time_s = crop.time_s
            times.append(time_s)
            boxes.append(crop.box)
            valid.append(crop.is_valid)
            is_key.append(crop.is_key)
            repeats.append(crop.repeats)
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
                cuts_s=tuple(cut for cut in cuts.times_s if times[0] <= cut <= times[-1]),
            )


def _crop_box(face: Box) -> Box:
    """Return the crop around a face box: the same centre, `CROP_TO_FACE` times the longer side."""
    x, y, width, height = face
    side = CROP_TO_FACE * max(width, height)
    return x + (width - side) / 2, y + (height - side) / 2, side, side


def _resample(rgb: NDArray[np.uint8], crop: Box, size: int) -> NDArray[np.uint8]:
    with one_thread():
        return resample_box_uint8(rgb, crop, size)


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
