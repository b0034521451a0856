"""A frame as a message of bytes, as the page sends it: raw, since compression erases the pulse.

    offset  0   4 bytes   b"RPG1"
            4   uint16    width in pixels
            6   uint16    height in pixels
            8   float64   time in seconds
           16   RGBA, 4 bytes a pixel, row by row

Numbers are little-endian.
"""

import math
import struct

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError

MAGIC = b"RPG1"
HEADER = struct.Struct("<4sHHd")
CHANNELS = 4
MOST_PIXELS = 320 * 320
"""Pixels of the largest frame: up to 320 × 240 or so, of any shape."""
MOST_BYTES = HEADER.size + CHANNELS * MOST_PIXELS


def unpack_frame(message: bytes) -> tuple[NDArray[np.uint8], float]:
    """Return the frame `(H, W, 3)` of a message, and its time in seconds.

    Raises:
        InputError: no such message.
    """
    if len(message) < HEADER.size or not message.startswith(MAGIC):
        raise InputError(f"a message of {len(message)} bytes that is no frame")
    _, width, height, time_s = HEADER.unpack_from(message)
    if not 0 < width * height <= MOST_PIXELS:
        raise InputError(f"a frame of {width}x{height} pixels; send up to {MOST_PIXELS}")
    expected = HEADER.size + CHANNELS * width * height
    if len(message) != expected:
        raise InputError(
            f"{len(message)} bytes for a frame of {width}x{height} pixels; expected {expected}"
        )
    if not math.isfinite(time_s):
        raise InputError("a frame whose time is not finite")
    pixels = np.frombuffer(message, np.uint8, offset=HEADER.size)
    return np.ascontiguousarray(pixels.reshape(height, width, CHANNELS)[..., :3]), time_s


def pack_frame(rgb: NDArray[np.uint8], time_s: float) -> bytes:
    """Return the message of a frame `(H, W, 3)`, for programs in place of the page."""
    height, width = rgb.shape[:2]
    opaque = np.full((height, width, 1), 255, np.uint8)
    header = HEADER.pack(MAGIC, width, height, time_s)
    return header + np.concatenate([rgb, opaque], axis=-1).tobytes()
