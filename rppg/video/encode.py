"""Encoding of frames to video files, and a round trip through a codec."""

import errno
import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.video.encoding import TICKS, Encoding, check_size, default_format, frame_ticks

DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""Errors of the encoder if the disk is full or not writable."""


def write_video(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float | None = None,
    times_s: Sequence[float] | NDArray[np.float64] | None = None,
    codec: str = "libx264",
    crf: int | None = None,
    qscale: int | None = None,
    bit_rate: int | None = None,
    keyframe_interval: int | None = None,
    keyframe_quantiser: float | None = None,
    pixel_format: str | None = None,
    encoding: Encoding | None = None,
) -> None:
    """Encode frames to a file, which appears complete or not at all.

    Args:
        path: its suffix chooses the container (`.mp4`, `.mkv`, `.avi`, `.mov`).
        frames: `(H, W, 3)` uint8 RGB, all of one size; read one at a time.
        fps: constant frame rate in Hz. Exactly one of `fps` and `times_s` is given.
        times_s: time of each frame in seconds, strictly increasing; the first is taken as 0.
            Not for AVI, which can't store them.
        codec: one of `CODECS`; `ffv1` is lossless.
        crf: quality of libx264 and libx265, 0 (best) to 51; 23 (libx264) or 28 if neither it nor
            `bit_rate` is given.
        qscale: quantiser of mpeg4 and mjpeg, 1 (best) to 31.
        bit_rate: target in bits per second; short clips don't reach it.
        keyframe_interval: frames from one keyframe to the next; the encoder's choice if not given.
        keyframe_quantiser: libx264's quantiser of keyframes, relative to that of other frames. By
            default they are finer; above 1 they are coarser, and the picture pulses at their rate.
        pixel_format: format that the codec stores; by default 4:2:0 (4:4:4 for libx264 and libx265
            if a side is odd), and RGB for ffv1.
        encoding: in place of `codec` to `keyframe_quantiser`, all that an encoder can be asked for.
            Then one thread encodes, so that the file is the same on any number of cores.

    Raises:
        InputError: no frame, frames of different shapes, times that don't increase, an unknown
            codec, or a container that can't hold it.
        WriteError: the disk is full or the location is not writable.
    """
    path = Path(path)
    if (fps is None) == (times_s is None):
        raise InputError(f"{path}: give either fps or times_s")
    if fps is not None and not 0 < fps < 10_000:
        raise InputError(f"{path}: {fps} frames a second; give a positive rate such as 30")
    clock = None if times_s is None else np.asarray(times_s, dtype=np.float64)
    if clock is not None and not (len(clock) > 0 and np.all(np.diff(np.rint(clock * TICKS)) > 0)):
        raise InputError(f"{path}: the {len(clock)} times must increase by at least 1/{TICKS} s")
    if clock is not None and path.suffix.lower() == ".avi":
        raise InputError(f"{path}: AVI stores no frame times; choose .mp4 or .mkv, or give fps")
    threads = 0 if encoding is None else 1
    encoding = encoding or Encoding(
        codec, crf, qscale, bit_rate, keyframe_interval, keyframe_quantiser
    )
    with atomic_path(path) as temporary:
        _encode(str(temporary), frames, fps, clock, encoding, pixel_format, threads)


def roundtrip(
    frames: NDArray[np.uint8],
    fps: float,
    codec: str = "libx264",
    *,
    crf: int | None = None,
    qscale: int | None = None,
    bit_rate: int | None = None,
    keyframe_interval: int | None = None,
    keyframe_quantiser: float | None = None,
    pixel_format: str | None = None,
) -> NDArray[np.uint8]:
    """Encode and decode frames `(T, H, W, 3)` uint8 in memory, and return the decoded frames.

    One thread encodes and decodes, so that the result is deterministic. Arguments and errors as in
    `write_video`.
    """
    file = io.BytesIO()
    encoding = Encoding(codec, crf, qscale, bit_rate, keyframe_interval, keyframe_quantiser)
    _encode(file, frames, fps, None, encoding, pixel_format, threads=1)
    file.seek(0)
    out = np.empty_like(frames)
    count = 0
    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        reformatter = VideoReformatter()
        for frame in container.decode(stream):
            out[count] = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            count += 1
    if count != len(frames):
        raise RuntimeError(f"{codec} returned {count} of {len(frames)} frames")
    return out


def _encode(
    target: str | io.BytesIO,
    frames: Iterable[NDArray[np.uint8]],
    fps: float | None,
    clock: NDArray[np.float64] | None,
    encoding: Encoding,
    stored_format: str | None,
    threads: int,
) -> None:
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise InputError("no frames to encode; give at least one")
    height, width = first.shape[:2]
    check_size(encoding.codec, width, height)
    if fps is None:
        assert clock is not None
        rate, ticks = frame_ticks(clock)
    else:
        rate, ticks = Fraction(fps).limit_denominator(1001), None
    codec, options = encoding.codec, encoding.options(one_thread=threads == 1)
    kind = "Matroska" if isinstance(target, io.BytesIO) else f"{Path(target).suffix} files"
    problem = f"can't write {width}x{height} frames to {kind}; choose another container or codec"
    try:
        container = av.open(
            target, "w", format="matroska" if isinstance(target, io.BytesIO) else None
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"{codec} {problem} ({error})") from error
    reformatter = VideoReformatter()  # one for all frames, as each sets up its own tables
    count = 0
    try:
        with container:
            stream = cast("av.VideoStream", container.add_stream(codec, rate=rate, options=options))
            stream.width, stream.height = width, height
            stream.pix_fmt = stored_format or default_format(codec, width, height)
            if encoding.bit_rate:
                stream.bit_rate = encoding.bit_rate
            stream.codec_context.thread_count = threads
            if ticks is not None:
                stream.codec_context.time_base = Fraction(1, TICKS)
            for count, rgb in enumerate(chain([first], remaining), start=1):
                _check(rgb, count, (height, width), ticks)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                frame = reformatter.reformat(frame, format=stream.pix_fmt, threads=1)
                frame.pts = count - 1 if ticks is None else int(ticks[count - 1])
                frame.time_base = 1 / rate if ticks is None else Fraction(1, TICKS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.error.FFmpegError as error:
        if error.errno in DISK:
            raise OSError(error.errno, error.strerror) from error
        raise InputError(f"{codec} {problem} ({error.strerror})") from error
    if ticks is not None and count < len(ticks):
        raise InputError(f"{len(ticks)} times but {count} frames; give a time per frame")


def _check(
    rgb: NDArray[np.uint8], count: int, size: tuple[int, int], ticks: NDArray[np.int64] | None
) -> None:
    if rgb.shape != (*size, 3) or rgb.dtype != np.uint8:
        raise InputError(
            f"frame {count - 1} is {rgb.dtype} {rgb.shape}; expected uint8 {(*size, 3)} like the "
            "first"
        )
    if ticks is not None and count > len(ticks):
        raise InputError(f"more frames than the {len(ticks)} times; give a time per frame")
