"""Decoding of video files to a stream of RGB frames with the file's timestamps.

Real cameras don't keep their nominal rate, so a frame's time comes from the stream's timestamps and
never from counting frames. Only a raw stream (`.h264`, `.hevc`, `.mjpeg`) has no timestamps: FFmpeg
would make them up, at 25 Hz. Its frames are counted, at a rate that the stream or the user states.
Memory is bounded by a few frames, whatever the length.
"""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from rppg.errors import InputError, TruncatedError
from rppg.types import Frame, VideoInfo
from rppg.video.time_range import check_time_range

log = logging.getLogger(__name__)

MISSING_SHARE = 0.02
MISSING_S = 0.5
"""A file counts as cut off if it ends earlier than its header says by more than both of these."""
NO_TIMESTAMPS = 0x80
"""FFmpeg's flag AVFMT_NOTIMESTAMPS, of the formats of raw streams."""
POSSIBLE_HZ = (1.0, 1000.0)
"""Frame rates that a raw stream may state. H.264's default clock gives absurd ones."""
COMPACT = ("yuv420p", "yuvj420p", "nv12")
"""Pixel formats that take half the memory of RGB."""


def probe(path: str | Path) -> VideoInfo:
    """Read a file's header, and one frame for its rotation.

    Raises:
        InputError: no such file, a folder, an empty file, not a video, or no frame in it.
    """
    with _open(Path(path)) as (container, stream):
        frame = _first_frame(Path(path), container, stream)
        turns = _quarter_turns(frame)
        width, height = (frame.width, frame.height)[:: 1 if turns % 2 == 0 else -1]
        if _is_raw(container):
            fps = _stated_rate(stream)
        else:
            fps = float(stream.average_rate or stream.guessed_rate or 0)
        duration_s = _duration_s(container, stream)
        return VideoInfo(
            width=width,
            height=height,
            fps=fps,
            duration_s=duration_s,
            frames=stream.frames or round(duration_s * fps),
            rotation=90 * turns,
        )


def has_clock(path: str | Path) -> bool:
    """Return whether a file has timestamps, unlike a raw stream.

    Raises:
        InputError: as `probe` does, but nothing is decoded.
    """
    with _open(Path(path)) as (container, _):
        return not _is_raw(container)


def read_frames(
    path: str | Path,
    start_s: float = 0.0,
    duration_s: float | None = None,
    *,
    reduce: int = 1,
    raw_fps: float | None = None,
) -> Iterator[Frame]:
    """Decode a video, frame by frame.

    Args:
        path: any container, codec and pixel format that FFmpeg reads.
        start_s: start in seconds from the file's first frame.
        duration_s: length of the part to read, in seconds; None reads to the end.
        reduce: frames are reduced by this whole number in both directions, each pixel the mean
            over its area.
        raw_fps: frame rate in Hz of a raw stream, which has no timestamps; None for the rate that
            the stream states, with a warning. A file with timestamps ignores it.

    Yields:
        Frames with strictly increasing times, the first at 0. Frames that are damaged, or whose
        time isn't later than that of the frame before, are left out, and a warning gives their
        number.

    Raises:
        InputError: a file that can't be read, that is cut off (the message says at which frame),
            that has no frame in the time range, or a raw stream that states no rate.
    """
    path = Path(path)
    check_time_range(str(path), start_s, duration_s)
    if reduce < 1:
        raise InputError(f"{path}: frames can't be reduced by {reduce}; give 1 or more")
    with _open(path) as (container, stream):
        counted_fps = _raw_rate(path, stream, raw_fps) if _is_raw(container) else None
        yield from _frames_in_range(
            path, container, stream, start_s, duration_s, reduce, counted_fps
        )


def _frames_in_range(
    path: Path,
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    start_s: float,
    duration_s: float | None,
    reduce: int,
    counted_fps: float | None,
) -> Iterator[Frame]:
    """Yield the frames of a range. `counted_fps`: rate of frames without times, 0 if unknown."""
    fps = counted_fps or float(stream.average_rate or stream.guessed_rate or 30)
    tolerance = 0.25 / fps  # a start of 0.1 s includes the frame at 0.0999
    first = last = None
    size = (0, 0)
    decoded = damaged = unordered = 0
    to_end = True
    reformatter = VideoReformatter()  # one for all frames, as each sets up its own tables
    for frame, own_time in _timed(path, container, stream, start_s, counted_fps):
        decoded += 1
        if own_time is None:
            time = (last if last is not None else start_s - 1 / fps) + 1 / fps
        else:
            time = own_time
        if frame.is_corrupt:
            damaged += 1
            continue
        if time < start_s - tolerance:
            continue
        if last is not None and time <= last:
            unordered += 1
            continue
        if first is None:
            first, size = time, (frame.width, frame.height)
        if duration_s is not None and time - first >= duration_s - tolerance:
            to_end = False
            break
        if (frame.width, frame.height) != size:
            raise InputError(
                f"{path}: the frame size changes from {size[0]}x{size[1]} to "
                f"{frame.width}x{frame.height} pixels at {time:.2f} s; read one part only, with "
                "--start and --duration, or convert the video to one size"
            )
        last = time
        convert = partial(rgb_of, frame, reduce, reformatter)
        compact = reduce == 1 and frame.format.name in COMPACT
        yield Frame(time - first, convert if compact else convert(), stored_whole(frame))
    _warn(path, decoded, damaged, "are damaged")
    _warn(path, decoded, unordered, "have a time not after the frame before")
    if to_end:
        _check_end(path, container, stream, decoded if start_s == 0 else None, last, fps)
    if last is None:
        raise InputError(
            f"{path}: no intact frame from {start_s} s on ({decoded} decoded, {damaged} damaged); "
            f"the video has {_duration_s(container, stream):.1f} s, choose an earlier start"
        )


def _timed(
    path: Path,
    container: "av.container.InputContainer",
    stream: "av.VideoStream",
    start_s: float,
    counted_fps: float | None,
) -> Iterator[tuple["av.VideoFrame", float | None]]:
    """Yield frames from about `start_s` on, each with its time in seconds, None if it has none."""
    if counted_fps is not None:
        for index, (frame, _) in enumerate(_decode(path, container, stream, 0.0)):
            if counted_fps == 0 and index > 0:  # a single image needs no rate
                raise InputError(
                    f"{path}: a raw stream without timestamps, which states no frame rate either; "
                    "give the frame rate with --fps, in a manifest in a column fps"
                )
            yield frame, index / counted_fps if index else 0.0
        return
    origin = float((stream.start_time or 0) * (stream.time_base or Fraction(1)))
    if start_s > 0 and stream.time_base:
        with suppress(av.error.FFmpegError):  # else decode from the beginning
            container.seek(int((origin + start_s) / stream.time_base), stream=stream)
    for frame, pts in _decode(path, container, stream, start_s):
        if pts is None or stream.time_base is None:
            yield frame, None
        else:
            yield frame, float(pts * stream.time_base) - origin


def _decode(
    path: Path, container: "av.container.InputContainer", stream: "av.VideoStream", start_s: float
) -> Iterator[tuple["av.VideoFrame", int | None]]:
    """Yield frames in display order, each with its time in ticks of the stream's time base.

    AVI stores no display times. If its codec reorders frames, the packets' times are assigned to
    the frames in display order.
    """
    is_reordered = container.format.name == "avi" and stream.codec_context.has_b_frames
    times: deque[int] | None = deque() if is_reordered else None
    count = 0
    try:
        for packet in container.demux(stream):
            if times is not None and packet.size and packet.dts is not None:
                times.append(packet.dts)
            for frame in packet.decode():
                yield frame, times.popleft() if times else frame.pts
                count += 1
    except av.error.FFmpegError as error:
        where = f"frame {count}" + (f" after {start_s} s" if start_s else "")
        raise TruncatedError(
            f"{path}: the video breaks at {where} ({error.strerror}); copy or record it again, "
            "or read only the part before"
        ) from error


def _is_raw(container: "av.container.InputContainer") -> bool:
    """Return whether the file is a stream or images without a container, thus timestamps."""
    images = container.format.name.endswith("_pipe")
    return images or bool(container.format.flags & NO_TIMESTAMPS)


def _stated_rate(stream: "av.VideoStream") -> float:
    """Return the frame rate in Hz that a raw stream's codec states, 0 if none."""
    fps = float(stream.codec_context.framerate or 0)
    low, high = POSSIBLE_HZ
    return fps if low <= fps <= high else 0.0


def _raw_rate(path: Path, stream: "av.VideoStream", raw_fps: float | None) -> float:
    """Return the rate in Hz at which a raw stream is read, with a warning if it is its own."""
    if raw_fps is not None:
        return raw_fps
    fps = _stated_rate(stream)
    if fps:
        log.warning(
            "%s: a raw stream without timestamps, timed by the %.5g frames a second that it "
            "states; if the camera's rate was another, give it with --fps",
            path, fps,
        )  # fmt: skip
    return fps


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
        if container.format.name == "tty":  # FFmpeg renders any text as a video
            raise InputError(f"{path}: a text, not a video; name a video file")
        video_streams = [  # without cover images of audio files
            s for s in container.streams.video if "attached_pic" not in str(s.disposition)
        ]
        if not video_streams:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(f"{path}: no video stream in it, only {kinds}; name a video file")
        stream = video_streams[0]
        if stream.codec_context is None:
            raise InputError(f"{path}: a video of an unknown codec; copy or record it again")
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


def stored_whole(frame: av.VideoFrame) -> bool:
    """Return whether the codec stored a frame whole, not as a change of others."""
    return frame.key_frame or frame.pict_type == PictureType.I


def rgb_of(frame: "av.VideoFrame", reduce: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Return the pixels of a frame, `(H, W, 3)` RGB, reduced by a whole number, upright."""
    converted = reformatter.reformat(
        frame,
        format="rgb24",
        width=max(1, frame.width // reduce),
        height=max(1, frame.height // reduce),
        interpolation="AREA",
        threads=1,
    )
    rgb = np.asarray(converted.to_ndarray(), dtype=np.uint8)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _duration_s(container: "av.container.InputContainer", stream: "av.VideoStream") -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska: "00:00:12.345000000"
        with suppress(ValueError):  # ignore a tag that isn't a time
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
    """Raise a TruncatedError if decoding ended earlier than the header says."""
    if last is None and not decoded:
        return
    other_streams = len(container.streams) > 1  # they may last longer than the video
    own = bool(stream.duration) or "DURATION" in stream.metadata
    expected = _duration_s(container, stream) if own or not other_streams else 0.0
    if container.format.name == "avi":  # FFmpeg reduces the duration of a file that was cut off
        expected = max(expected, stream.frames / fps)
    end = (last or 0.0) + 1 / fps
    if expected - end > max(MISSING_S, MISSING_SHARE * expected):
        position = f"frame {decoded} ({end:.2f} s)" if decoded is not None else f"{end:.2f} s"
        raise TruncatedError(
            f"{path}: the video breaks off at {position} of {expected:.2f} s; copy or record "
            "it again, or read only the part before"
        )


def _warn(path: Path, decoded: int, count: int, what: str) -> None:
    if count:
        log.warning("%s: %d of %d frames %s; they are left out", path, count, decoded, what)
