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

CODECS = ("libx264", "mpeg4", "mjpeg", "ffv1")
PREDICTING = ("libx264", "mpeg4")
"""Codecs with frames between the keyframes."""
DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""Errors of the encoder if the disk is full or not writable."""
TICKS = 60_000
"""Clock ticks per second in files with a time per frame. Rates of 24, 25, 29.97, 30, 50 and 60 are
exact, and MPEG-4 allows no more than 65535."""


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
) -> None:
    """Encode frames to a file, which appears complete or not at all.

    Args:
        path: its suffix chooses the container (`.mp4`, `.mkv`, `.avi`, `.mov`).
        frames: `(H, W, 3)` uint8 RGB, all of one size; read one at a time.
        fps: constant frame rate in Hz. Exactly one of `fps` and `times_s` is given.
        times_s: time of each frame in seconds, strictly increasing; the first is taken as 0.
            Not for AVI, which can't store them.
        codec: one of `CODECS`; `ffv1` is lossless.
        crf: quality of libx264, 0 (best) to 51; 23 if neither it nor `bit_rate` is given.
        qscale: quantiser of mpeg4 and mjpeg, 1 (best) to 31.
        bit_rate: target in bits per second; short clips don't reach it.
        keyframe_interval: frames from one keyframe to the next; the encoder's choice if not given.
        keyframe_quantiser: libx264's quantiser of keyframes, relative to that of other frames. By
            default they are finer; above 1 they are coarser, and the picture pulses at their rate.
        pixel_format: format that the codec stores; by default 4:2:0 (4:4:4 for libx264 if a side
            is odd), and RGB for ffv1.

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
    options = _options(codec, crf, qscale, keyframe_interval, keyframe_quantiser)
    with atomic_path(path) as temporary:
        _encode(str(temporary), frames, fps, clock, codec, options, bit_rate, pixel_format)


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
    options = _options(codec, crf, qscale, keyframe_interval, keyframe_quantiser)
    if codec == "libx264":
        options["x264-params"] += ":threads=1:lookahead-threads=1"
    _encode(file, frames, fps, None, codec, options, bit_rate, pixel_format, threads=1)
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


def _options(
    codec: str,
    crf: int | None,
    qscale: int | None,
    keyframe_interval: int | None,
    keyframe_quantiser: float | None,
) -> dict[str, str]:
    if codec not in CODECS:
        raise InputError(f"unknown codec {codec!r}; choose one of {', '.join(CODECS)}")
    if codec not in av.codecs_available:
        raise InputError(f"this PyAV has no {codec} encoder; choose another codec, such as mpeg4")
    if crf is not None and codec != "libx264":
        raise InputError(f"crf is an option of libx264; give {codec} qscale or bit_rate instead")
    if qscale is not None and codec not in ("mpeg4", "mjpeg"):
        raise InputError(f"qscale is an option of mpeg4 and mjpeg; give {codec} something else")
    if keyframe_interval is not None and (codec not in PREDICTING or keyframe_interval < 1):
        raise InputError(
            f"keyframe_interval {keyframe_interval} with {codec}; give at least 1, and one of "
            f"{', '.join(PREDICTING)}"
        )
    if keyframe_quantiser is not None and (codec != "libx264" or keyframe_quantiser <= 0):
        raise InputError(
            f"keyframe_quantiser {keyframe_quantiser:g} with {codec}; give more than 0, and libx264"
        )
    options = {} if crf is None else {"crf": str(crf)}
    if keyframe_interval is not None:
        # Without keyframes where the scene changes: libx264 has none at 0, mpeg4 above a score.
        never = "0" if codec == "libx264" else "1000000000"
        options |= {"g": str(keyframe_interval), "sc_threshold": never}
    if keyframe_quantiser is not None:
        options["i_qfactor"] = str(keyframe_quantiser)
    if codec == "libx264":  # its vector code reads beyond the frame's edge otherwise
        options["x264-params"] = "cpu-independent=1"
    return options if qscale is None else options | {"qmin": str(qscale), "qmax": str(qscale)}


def _encode(
    target: str | io.BytesIO,
    frames: Iterable[NDArray[np.uint8]],
    fps: float | None,
    clock: NDArray[np.float64] | None,
    codec: str,
    options: dict[str, str],
    bit_rate: int | None,
    pixel_format: str | None,
    threads: int = 0,
) -> None:
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise InputError("no frames to encode; give at least one")
    height, width = first.shape[:2]
    if fps is None:
        assert clock is not None
        rate = Fraction((len(clock) - 1) / (clock[-1] - clock[0]) if len(clock) > 1 else 30)
        rate = rate.limit_denominator(1001)
        ticks = np.rint((clock - clock[0]) * TICKS).astype(np.int64)
    else:
        rate, ticks = Fraction(fps).limit_denominator(1001), None
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
            stream.pix_fmt = pixel_format or _pixel_format(codec, width, height)
            if bit_rate:
                stream.bit_rate = bit_rate
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


def _pixel_format(codec: str, width: int, height: int) -> str:
    if codec == "libx264" and (width % 2 or height % 2):
        return "yuv444p"  # its 4:2:0 needs even sides
    return {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")


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
