"""Video files as a stream of RGB frames on the file's own clock.

Real cameras don't keep to their nominal rate, so a frame's time comes from the stream's time base
and never from counting frames. Memory is bounded by a few frames, whatever the length.
"""

import logging
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from rppg.errors import InputError, TruncatedError
from rppg.types import Frame, VideoInfo

log = logging.getLogger(__name__)

MISSING_SHARE = 0.02
MISSING_S = 0.5
"""A file that ends earlier than its header says by more than both of these was cut off."""


COMPACT = ("yuv420p", "yuvj420p", "nv12")
"""Pixel formats of half the size of RGB."""


def probe(path: str | Path) -> VideoInfo:
    """Read a file's header, and one frame for its rotation.

    Raises:
        InputError: no such file, a folder, an empty file, not a video, no picture in it.
    """
    with _open(Path(path)) as (container, stream):
        frame = _first_frame(Path(path), container, stream)
        turn = _quarter_turns(frame)
        width, height = (frame.width, frame.height)[:: 1 if turn % 2 == 0 else -1]
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        duration_s = _duration_s(container, stream)
        return VideoInfo(
            width=width,
            height=height,
            fps=fps,
            duration_s=duration_s,
            frames=stream.frames or round(duration_s * fps),
            rotation=90 * turn,
        )


def read_frames(
    path: str | Path,
    start_s: float = 0.0,
    duration_s: float | None = None,
    *,
    reduce: int = 1,
) -> Iterator[Frame]:
    """Decode a video, frame by frame.

    Args:
        path: any container and codec FFmpeg reads; any pixel format.
        start_s: where to begin, in seconds from the file's first frame.
        duration_s: how much to read in seconds; to the end if None.
        reduce: pictures are made smaller by this whole number in both directions, each pixel
            the mean over its area.

    Yields:
        Frames with strictly increasing times, the first at 0. Frames that are damaged, or whose
        time doesn't lie after the frame before, are left out, and a warning is logged with their
        number.

    Raises:
        InputError: a file that can't be read, that breaks off (the message says at which frame),
            or that has no frame in the span asked for.
    """
    path = Path(path)
    check_span(str(path), start_s, duration_s)
    if reduce < 1:
        raise InputError(f"{path}: pictures can't be reduced by {reduce}; give 1 or more")
    with _open(path) as (container, stream):
        yield from _span(path, container, stream, start_s, duration_s, reduce)


def check_span(name: str, start_s: float, duration_s: float | None) -> None:
    """Raise InputError where no part of a video begins there or lasts so long."""
    if not (0 <= start_s < math.inf and (duration_s is None or duration_s > 0)):
        raise InputError(
            f"{name}: start {start_s} s, duration {duration_s} s; give a start of 0 or more and "
            "a positive duration"
        )


def _span(
    path: Path,
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    start_s: float,
    duration_s: float | None,
    reduce: int,
) -> Iterator[Frame]:
    fps = float(stream.average_rate or stream.guessed_rate or 30)
    origin = float((stream.start_time or 0) * (stream.time_base or Fraction(1)))
    if start_s > 0 and stream.time_base:
        with suppress(av.error.FFmpegError):  # else decode from the beginning
            container.seek(int((origin + start_s) / stream.time_base), stream=stream)
    slack = 0.25 / fps  # a start of 0.1 s means the frame at 0.0999
    first = last = None
    size = (0, 0)
    decoded = damaged = unordered = 0
    ended = True
    reformatter = VideoReformatter()  # one for all frames: each sets up tables of its own
    for frame, pts in _decode(path, container, stream, start_s):
        decoded += 1
        if pts is not None and stream.time_base is not None:
            time = float(pts * stream.time_base) - origin
        else:
            time = (last if last is not None else start_s - 1 / fps) + 1 / fps
        if frame.is_corrupt:
            damaged += 1
            continue
        if time < start_s - slack:
            continue
        if last is not None and time <= last:
            unordered += 1
            continue
        if first is None:
            first, size = time, (frame.width, frame.height)
        if duration_s is not None and time - first >= duration_s - slack:
            ended = False
            break
        if (frame.width, frame.height) != size:
            raise InputError(
                f"{path}: the picture's size changes from {size[0]}x{size[1]} to "
                f"{frame.width}x{frame.height} pixels at {time:.2f} s; read one part only, with "
                "--start and --duration, or convert the video to one size"
            )
        last = time
        convert = partial(_rgb, frame, reduce, reformatter)
        compact = reduce == 1 and frame.format.name in COMPACT
        yield Frame(time - first, convert if compact else convert())
    _warn(path, decoded, damaged, "are damaged")
    _warn(path, decoded, unordered, "have a time not after the frame before")
    if ended:
        _check_end(path, container, stream, decoded if start_s == 0 else None, last, fps)
    if last is None:
        raise InputError(
            f"{path}: no intact frame from {start_s} s on ({decoded} decoded, {damaged} damaged); "
            f"the video has {_duration_s(container, stream):.1f} s, choose an earlier start"
        )


def _decode(
    path: Path, container: "av.container.InputContainer", stream: "av.VideoStream", start_s: float
) -> Iterator[tuple["av.VideoFrame", int | None]]:
    """Frames in the order of display, each with its time in ticks of the stream's clock.

    AVI stores no display times. Where its codec reorders frames, the packets' time slots go to
    the frames, once in the order of display, in turn.
    """
    reordered = container.format.name == "avi" and stream.codec_context.has_b_frames
    slots: deque[int] | None = deque() if reordered else None
    count = 0
    try:
        for packet in container.demux(stream):
            if slots is not None and packet.size and packet.dts is not None:
                slots.append(packet.dts)
            for frame in packet.decode():
                yield frame, slots.popleft() if slots else frame.pts
                count += 1
    except av.error.FFmpegError as error:
        where = f"frame {count}" + (f" after {start_s} s" if start_s else "")
        raise TruncatedError(
            f"{path}: the video breaks at {where} ({error.strerror}); copy or record it again, "
            "or read only the part before"
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a video file in it")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or record it again")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it; change its rights") from error
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path}: not a video, or cut off before its index ({error.strerror}); name a video "
            "file such as .mp4, .avi, .mkv or .mov, or copy it again"
        ) from error
    with container:
        if container.format.name == "tty":  # FFmpeg plays any text as a film of its letters
            raise InputError(f"{path}: a text, not a video; name a video file")
        pictures = [  # a song's cover is a video of one picture
            s for s in container.streams.video if "attached_pic" not in str(s.disposition)
        ]
        if not pictures:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(f"{path}: no video stream in it, only {kinds}; name a video file")
        stream = pictures[0]
        if stream.codec_context is None:
            raise InputError(f"{path}: pictures of an unknown kind; copy or record it again")
        stream.thread_type = "AUTO"
        yield container, stream


def _first_frame(
    path: Path, container: "av.container.InputContainer", stream: "av.VideoStream"
) -> "av.VideoFrame":
    try:
        return next(container.decode(stream))
    except (av.error.FFmpegError, StopIteration) as error:
        raise InputError(
            f"{path}: not one frame can be decoded ({error or 'no data'}); copy or record it again"
        ) from error


def _quarter_turns(frame: "av.VideoFrame") -> int:
    return round(frame.rotation / 90) % 4


def _rgb(frame: "av.VideoFrame", reduce: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    picture = reformatter.reformat(
        frame,
        format="rgb24",
        width=max(1, frame.width // reduce),
        height=max(1, frame.height // reduce),
        interpolation="AREA",
        threads=1,
    )
    rgb = np.asarray(picture.to_ndarray(), dtype=np.uint8)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _duration_s(container: "av.container.InputContainer", stream: "av.VideoStream") -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska: "00:00:12.345000000"
        with suppress(ValueError):  # a tag that is no time tells nothing
            hours, minutes, seconds = tag.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return float(container.duration or 0) / 1e6


def _check_end(
    path: Path,
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    decoded: int | None,
    last: float | None,
    fps: float,
) -> None:
    """Compare where decoding ended with what the header promised."""
    if last is None and not decoded:
        return
    others = len(container.streams) > 1  # then the container may outlast the pictures
    own = bool(stream.duration) or "DURATION" in stream.metadata
    promised = _duration_s(container, stream) if own or not others else 0.0
    if container.format.name == "avi":  # FFmpeg shortens the duration of a short file itself
        promised = max(promised, stream.frames / fps)
    end = (last or 0.0) + 1 / fps
    if promised - end > max(MISSING_S, MISSING_SHARE * promised):
        at = f"frame {decoded} ({end:.2f} s)" if decoded is not None else f"{end:.2f} s"
        raise TruncatedError(
            f"{path}: the video breaks off at {at} of {promised:.2f} s; copy or record it again, "
            f"or read only the part before"
        )


def _warn(path: Path, decoded: int, count: int, what: str) -> None:
    if count:
        log.warning("%s: %d of %d frames %s; they are left out", path, count, decoded, what)
