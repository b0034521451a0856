"""From a video to face crops, in one pass and in bounded memory."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.records import CROP_TO_FACE, FaceCrops
from rppg.video.area import Box, cut
from rppg.video.decode import Frame, VideoInfo
from rppg.video.source import Video, VideoFile
from rppg.video.threads import one_thread
from rppg.video.track import LOOKAHEAD_S, FaceTrack

log = logging.getLogger(__name__)

LEAST_S = 5.0
"""Shortest video: a few beats, and a resolution of 0.2 Hz."""
HOLE_S = 0.5
"""Frames on both sides of a longer hole between timestamps are invalid."""
BUFFER_BYTES = 256e6
"""Pictures that wait for their box take no more than this; they are reduced where they would."""


def read_crops(
    video: str | Path | Video,
    *,
    size: int = 48,
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
        cuts = _fixed(source.frames(start_s, duration_s), crop, size)
    else:
        reduce = _reduction(info)
        cuts = _followed(path, source.frames(start_s, duration_s, reduce=reduce), info, size)
    with one_thread():
        return _gather(path, cuts, size)


Cut = tuple[float, NDArray[np.uint8] | None, Box | None, bool]
"""Time, crop, crop box in pixels of the file, validity; no crop before the face is first seen."""


def _fixed(frames: Iterator[Frame], crop: Box, size: int) -> Iterator[Cut]:
    for frame in frames:
        yield frame.time_s, _bytes(cut(frame.rgb, crop, size)), crop, True


def _followed(path: str, frames: Iterator[Frame], info: VideoInfo, size: int) -> Iterator[Cut]:
    """Crops of the tracked face, each as soon as its box has settled."""
    track = FaceTrack()
    waiting: deque[Frame] = deque()
    for frame in frames:
        track.see(frame)
        waiting.append(frame)
        while track.settled(waiting[0].time_s):
            yield _tracked(track, waiting.popleft(), info, size)
    track.finish()
    if not track.found:
        raise InputError(
            f"{path}: no face found; say where it is with --box x,y,w,h, or use --full-frame if "
            "the picture shows little else"
        )
    for frame in waiting:
        yield _tracked(track, frame, info, size)


def _tracked(track: FaceTrack, frame: Frame, info: VideoInfo, size: int) -> Cut:
    known = track.at(frame.time_s)
    if known is None:
        return frame.time_s, None, None, False
    x, y, width, height = _around(known[0])
    across, down = info.width / frame.rgb.shape[1], info.height / frame.rgb.shape[0]
    crop = _bytes(cut(frame.rgb, (x, y, width, height), size))
    return frame.time_s, crop, (x * across, y * down, width * across, height * down), known[1]


def _gather(path: str, cuts: Iterator[Cut], size: int) -> FaceCrops:
    times: list[float] = []
    boxes: list[Box] = []
    valid: list[bool] = []
    pixels = bytearray()  # grows in place, where many small arrays would leave gaps in memory
    for time_s, crop, box, seen in cuts:
        times.append(time_s)
        valid.append(seen)
        if crop is not None and box is not None:
            missing = len(times) - len(boxes)  # 1, and more where the face comes late
            pixels += crop.tobytes() * missing
            boxes += [box] * missing
    clock = np.array(times)
    length = clock[-1] * len(clock) / max(len(clock) - 1, 1)
    if length < LEAST_S - 1e-3:
        raise InputError(
            f"{path}: {length:.1f} s of video; a pulse needs at least {LEAST_S:g} s, record or "
            "read a longer part"
        )
    frames = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, size, size, 3)
    there = np.array(valid)
    holes = np.flatnonzero(np.diff(clock) > HOLE_S)
    there[holes] = there[holes + 1] = False
    for hole in holes:
        log.warning("%s: no frames from %.1f s to %.1f s", path, clock[hole], clock[hole + 1])
    if not there.all():
        log.warning("%s: the face is lost in %.0f %% of the frames", path, 100 * (1 - there.mean()))
    return FaceCrops(frames, clock, there, np.array(boxes))


def _around(face: Box) -> Box:
    """The crop around a face box: the same centre, `CROP_TO_FACE` times the longer side."""
    x, y, width, height = face
    side = CROP_TO_FACE * max(width, height)
    return x + (width - side) / 2, y + (height - side) / 2, side, side


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _reduction(info: VideoInfo) -> int:
    """By which whole number pictures are reduced so that the waiting ones fit."""
    waiting = max(1.0, min(info.fps, 240.0) * LOOKAHEAD_S)
    needed = info.width * info.height * 3 * waiting
    return max(1, int(np.ceil(np.sqrt(needed / BUFFER_BYTES))))


def _checked(path: str, box: Box, info: VideoInfo) -> Box:
    x, y, width, height = box
    inside = x < info.width and y < info.height and x + width > 0 and y + height > 0
    if not (np.all(np.isfinite(box)) and width > 0 and height > 0 and inside):
        raise InputError(
            f"{path}: the box {','.join(f'{v:g}' for v in box)} is not in the picture of "
            f"{info.width}x{info.height} pixels; give x,y,w,h of the face in pixels"
        )
    return box
