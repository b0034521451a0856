"""Frames through an encoder and a decoder in one pass, as a stream arrives at its viewer."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import Frame
from rppg.video.decode_video import stored_whole
from rppg.video.encoding import TICKS, Encoding, check_size, default_format, frame_ticks

DECODERS = {"libx264": "h264", "libx265": "hevc"}


def transcode(
    frames: Iterable[NDArray[np.uint8]], times_s: NDArray[np.float64], encoding: Encoding
) -> Iterator[Frame]:
    """Yield each frame as decoded, in order of time.

    Neither the frames nor the stream are held in memory: a frame is decoded as soon as its packet
    is there. One thread encodes and decodes, so that the result is deterministic.

    Args:
        frames: `(H, W, 3)` uint8 RGB, all of one size, with even sides.
        times_s: time of each frame in seconds, strictly increasing.
        encoding: of libx264 or libx265.

    Raises:
        InputError: no frame, another codec, or another number of times than frames.
    """
    if encoding.codec not in DECODERS:
        raise InputError(f"codec {encoding.codec}; give one of {', '.join(DECODERS)}")
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise InputError("no frames to encode; give at least one")
    rate, ticks = frame_ticks(times_s)
    encoder = cast("av.VideoCodecContext", av.CodecContext.create(encoding.codec, "w"))
    encoder.height, encoder.width = first.shape[:2]
    check_size(encoding.codec, encoder.width, encoder.height)
    encoder.pix_fmt = default_format(encoding.codec, encoder.width, encoder.height)
    encoder.time_base, encoder.framerate = Fraction(1, TICKS), rate
    encoder.options = encoding.options(one_thread=True)
    if encoding.bit_rate:
        encoder.bit_rate = encoding.bit_rate
    encoder.thread_count = 1
    decoder = cast("av.VideoCodecContext", av.CodecContext.create(DECODERS[encoding.codec], "r"))
    decoder.thread_count = 1
    to_yuv, to_rgb = VideoReformatter(), VideoReformatter()

    def decoded(packets: Iterable[Any]) -> Iterator[Frame]:
        for packet in packets:
            for frame in decoder.decode(packet):
                assert frame.pts is not None
                rgb = to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
                time_s = float(times_s[0] + frame.pts / TICKS)
                yield Frame(time_s, cast("NDArray[np.uint8]", rgb), stored_whole(frame))

    count = 0
    for count, rgb in enumerate(chain([first], remaining), start=1):
        if count > len(ticks):
            raise InputError(f"more frames than the {len(ticks)} times; give a time per frame")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = to_yuv.reformat(frame, format=encoder.pix_fmt, threads=1)
        frame.pts, frame.time_base = int(ticks[count - 1]), Fraction(1, TICKS)
        yield from decoded(encoder.encode(frame))
    if count < len(ticks):
        raise InputError(f"{len(ticks)} times but {count} frames; give a time per frame")
    yield from decoded(encoder.encode(None))
    yield from decoded([None])
