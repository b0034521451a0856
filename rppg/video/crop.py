"""From a video to face crops, in one pass and in bounded memory."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import CROP_TO_FACE, FaceCrops, Frame, Video, VideoInfo
from rppg.video.prefetch import ahead
from rppg.video.resize import Box, cut_bytes
from rppg.video.sources.source import VideoFile
from rppg.video.threads import one_thread
from rppg.video.track import LOOKAHEAD_S, FaceTrack

log = logging.getLogger(__name__)

CROP_SIZE = 48
"""Side of a crop in pixels, unless another is asked for."""
LEAST_S = 5.0
"""Shortest video: a few beats, and a resolution of 0.2 Hz."""
HOLE_S = 0.5
"""Frames on both sides of a longer hole between timestamps are invalid."""
LARGEST_BOX = 10
"""A face box may reach beyond the picture, but not to so many times its size."""
BUFFER_BYTES = 256e6
"""Pictures that wait for their box take no more than this; they are reduced where they would."""


@dataclass(frozen=True)
class FaceRegion:
    """Where the face is: detected, unless a box is given or the whole frame is the face."""

    box: Box | None = None
    full_frame: bool = False


@dataclass(frozen=True)
class VideoCrops:
    """Crops to be cut from a video: all that they depend on. When called, it reads them."""

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

    The face is looked for several times a second and its box smoothed over a second or so, see
    `rppg.video.track`. The crop is `CROP_TO_FACE` times the face box, resampled by area at
    sub-pixel places; outside of the picture its edge is continued. Frames before the face is
    first seen repeat the first crop and are marked invalid, as are those where it was lost.

    Where the pictures of the few seconds that a box takes to settle don't fit into
    `BUFFER_BYTES` (larger than 720p at 30 Hz), they are reduced by a whole number while decoding.

    Args:
        video: the path of a video file, or another source of pictures.
        size: side of the crops in pixels.
        box: x, y, width, height of the face, forehead to chin, in pixels of the displayed
            picture; then no face is looked for.
        full_frame: the crop is the whole picture, brought to a square; no face is looked for.
        start_s, duration_s: which part to read, in seconds; to the end if `duration_s` is None.

    Returns:
        Crops with times in seconds from the first frame read, and crop boxes in pixels of the
        displayed picture.

    Raises:
        InputError: a file that can't be read, less than `LEAST_S` of video, no face in it, a
            box that is empty or outside of the picture, a size below 2.
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
    """The crops of `read_crops` piece by piece, so that memory doesn't grow with the length.

    Args:
        piece_s: length of a piece in seconds; the last is shorter. The clock goes on from piece
            to piece.

    Raises:
        InputError: as `read_crops` does; that a video is too short is known at its end.
    """
    source = VideoFile(Path(video)) if isinstance(video, str | Path) else video
    path = source.name
    if size < 2:
        raise InputError(f"{path}: crops of {size} pixels; give a size of 2 or more")
    if box is not None and full_frame:
        raise InputError(f"{path}: both a box and the full frame asked for; choose one")
    info = source.probe()
    if box is not None or full_frame:
        crop = (0.0, 0.0, float(info.width), float(info.height))
        if box is not None:
            crop = _around(_checked(path, box, info))
        cuts = _fixed(ahead(source.frames(start_s, duration_s)), crop, size)
    else:
        frames = ahead(source.frames(start_s, duration_s, reduce=reduction(info)))
        cuts = _followed(path, frames, info, size)
    return _gather(path, _marked(path, cuts), size, piece_s)


Cut = tuple[float, NDArray[np.uint8], Box, bool]
"""Time, crop, crop box in pixels of the file, validity."""


def _fixed(frames: Iterator[Frame], crop: Box, size: int) -> Iterator[Cut]:
    for frame in frames:
        yield frame.time_s, _cut(frame.rgb, crop, size), crop, True


def _followed(path: str, frames: Iterator[Frame], info: VideoInfo, size: int) -> Iterator[Cut]:
    """Crops of the tracked face, each as soon as its box has settled."""
    track = FaceTrack()
    waiting: deque[Frame] = deque()
    early: list[float] = []  # times before the face is first seen
    for frame in chain(frames, [None]):
        if frame is not None:
            track.see(frame)
            waiting.append(frame)
        else:
            track.finish()
            if not track.found:
                raise InputError(
                    f"{path}: no face found; say where it is with --box x,y,w,h, or use "
                    "--full-frame if the picture shows little else"
                )
        while waiting and track.settled(waiting[0].time_s):
            tracked = _tracked(track, waiting[0], info, size)
            time_s = waiting.popleft().time_s
            if tracked is None:
                early.append(time_s)
                continue
            for before_s in early:
                yield before_s, tracked[0], tracked[1], False
            early.clear()
            yield time_s, *tracked


def _tracked(
    track: FaceTrack, frame: Frame, info: VideoInfo, size: int
) -> tuple[NDArray[np.uint8], Box, bool] | None:
    known = track.at(frame.time_s)
    if known is None:
        return None
    x, y, width, height = _around(known[0])
    rgb = frame.rgb
    across, down = info.width / rgb.shape[1], info.height / rgb.shape[0]
    crop = _cut(rgb, (x, y, width, height), size)
    return crop, (x * across, y * down, width * across, height * down), known[1]


def _marked(path: str, cuts: Iterator[Cut]) -> Iterator[Cut]:
    """The same, with the frames on both sides of a hole between timestamps invalid."""
    last: Cut | None = None
    for cut_now in cuts:
        if last is not None:
            if cut_now[0] - last[0] > HOLE_S:
                log.warning("%s: no frames from %.1f s to %.1f s", path, last[0], cut_now[0])
                last, cut_now = (*last[:3], False), (*cut_now[:3], False)  # noqa: PLW2901
            yield last
        last = cut_now
    if last is not None:
        yield last


def _gather(path: str, cuts: Iterator[Cut], size: int, piece_s: float) -> Iterator[FaceCrops]:
    count, seen = 0, 0
    time_s = 0.0
    more = True
    while more:
        times: list[float] = []
        boxes: list[Box] = []
        valid: list[bool] = []
        pixels = bytearray()  # grows in place, where many small arrays would leave gaps in memory
        for time_s, crop, box, there in cuts:
            times.append(time_s)
            boxes.append(box)
            valid.append(there)
            pixels += crop.tobytes()
            if time_s - times[0] >= piece_s:
                break
        else:
            more = False
        count += len(times)
        seen += sum(valid)
        if not more:
            length_s = time_s * count / max(count - 1, 1)
            if length_s < LEAST_S - 1e-3:
                raise InputError(
                    f"{path}: {length_s:.1f} s of video; a pulse needs at least {LEAST_S:g} s, "
                    "record or read a longer part"
                )
        if times:
            frames = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, size, size, 3)
            yield FaceCrops(frames, np.array(times), np.array(valid), np.array(boxes))
    if seen < count:
        log.warning("%s: the face is lost in %.0f %% of the frames", path, 100 * (1 - seen / count))


def _around(face: Box) -> Box:
    """The crop around a face box: the same centre, `CROP_TO_FACE` times the longer side."""
    x, y, width, height = face
    side = CROP_TO_FACE * max(width, height)
    return x + (width - side) / 2, y + (height - side) / 2, side, side


def _cut(rgb: NDArray[np.uint8], crop: Box, size: int) -> NDArray[np.uint8]:
    with one_thread():
        return cut_bytes(rgb, crop, size)


def reduction(info: VideoInfo) -> int:
    """By which whole number pictures are reduced so that the waiting ones fit."""
    waiting = max(1.0, min(info.fps, 240.0) * LOOKAHEAD_S)
    needed = info.width * info.height * 3 * waiting
    return max(1, int(np.ceil(np.sqrt(needed / BUFFER_BYTES))))


def _checked(path: str, box: Box, info: VideoInfo) -> Box:
    x, y, width, height = box
    inside = x < info.width and y < info.height and x + width > 0 and y + height > 0
    fits = width <= LARGEST_BOX * info.width and height <= LARGEST_BOX * info.height
    if not (np.all(np.isfinite(box)) and width > 0 and height > 0 and inside and fits):
        raise InputError(
            f"{path}: the box {','.join(f'{v:g}' for v in box)} is not in the picture of "
            f"{info.width}x{info.height} pixels; give x,y,w,h of the face in pixels"
        )
    return box
