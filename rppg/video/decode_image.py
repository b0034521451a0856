"""Decoding of single PNG, BMP and JPEG images."""

from typing import Literal, cast

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError, TruncatedError

SIGNATURES: tuple[tuple[Literal["png", "bmp", "mjpeg"], bytes], ...] = (
    ("png", b"\x89PNG\r\n\x1a\n"),
    ("bmp", b"BM"),
    ("mjpeg", b"\xff\xd8"),
)
"""FFmpeg's codec of each format, and the first bytes of its files."""


def decode_image(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode the content of a PNG, BMP or JPEG file to `(H, W, 3)` uint8 RGB.

    Raises:
        InputError: content that is empty, cut off, damaged, or of another format.
    """
    if not content:
        raise InputError(f"{name}: the file is empty (0 bytes); copy it again")
    codec = next((codec for codec, start in SIGNATURES if content.startswith(start)), None)
    if codec is None:
        raise InputError(f"{name}: not a PNG, BMP or JPEG image; copy it again")
    if not _is_complete(codec, content):
        raise TruncatedError(f"{name}: the image is cut off; copy it again")
    try:
        decoder = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
        decoder.options = {"err_detect": "crccheck+explode"}
        decoder.thread_count = 1
        packet = av.Packet(content)
        frames = [*decoder.decode(packet), *decoder.decode(None)]
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: the image is damaged ({reason}); copy it again") from error
    if not frames or frames[0].is_corrupt:
        raise InputError(f"{name}: the image is damaged; copy it again")
    return np.asarray(frames[0].to_ndarray(format="rgb24"), dtype=np.uint8)


def _is_complete(codec: str, content: bytes) -> bool:
    """Return whether the file's end exists. Decoders fill a missing part with grey silently."""
    if codec == "png":
        return b"IEND" in content[-64:]
    if codec == "bmp":
        pixels = int.from_bytes(content[10:14], "little")
        width = int.from_bytes(content[18:22], "little", signed=True)
        height = abs(int.from_bytes(content[22:26], "little", signed=True))
        compressed = int.from_bytes(content[30:34], "little") in (1, 2, 4, 5)
        row = (width * int.from_bytes(content[28:30], "little") + 31) // 32 * 4
        expected = int.from_bytes(content[2:6], "little") if compressed else pixels + row * height
        return len(content) >= max(expected, 54)
    return b"\xff\xd9" in content[-64:].rstrip(b"\x00")
