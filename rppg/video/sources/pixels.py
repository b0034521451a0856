"""Frames in memory as the stages expect them: uint8 RGB; other types are refused with advice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError

RGB, GREY = 3, 1
"""Channels of frames that are read."""
DEPTHS = (10, 12, 14, 16, 32, 64)
"""Bits of cameras that give more than eight, and of integers."""


def check_pixels(frames: NDArray[Any], name: str = "frames") -> None:
    """Raise an InputError unless frames `(..., H, W, 3)` or `(..., H, W)` are uint8."""
    if frames.dtype != np.uint8:
        raise InputError(f"{name} are {frames.dtype}; expected uint8, 0 to 255; {advice(frames)}")


def check_frame(frame: Any, name: str) -> None:
    """Raise an InputError unless a frame is uint8 `(H, W, 3)`, or grey `(H, W)` or `(H, W, 1)`."""
    if not isinstance(frame, np.ndarray):
        raise InputError(
            f"{name} of type {type(frame).__name__}; expected a NumPy array (height, width, 3)"
        )
    check_pixels(frame, name)
    is_row = frame.ndim == 2 and frame.shape[1] == RGB  # of an image that was given as frames
    channels = frame.shape[2] if frame.ndim == 3 else GREY
    if frame.ndim not in (2, 3) or channels not in (GREY, RGB) or frame.size == 0 or is_row:
        raise InputError(
            f"{name} have shape {frame.shape}; expected (height, width, 3), colours last"
        )


def advice(frames: NDArray[Any]) -> str:
    """Return how frames of another type become uint8, without any value that wraps around."""
    if frames.dtype.kind not in "fiu" or frames.size == 0:
        return "convert them"
    low, high = float(np.min(frames)), float(np.max(frames))
    if not (np.isfinite(low) and np.isfinite(high)):
        return "some values are not finite; replace them first"
    is_float = frames.dtype.kind == "f"
    if low < 0 or (is_float and high > 255):
        return (
            f"these go from {low:g} to {high:g}: map black to 0 and white to 255, then convert "
            "with np.rint(frames).clip(0, 255).astype(np.uint8)"
        )
    return f"these, from {low:g} to {high:g}, convert with {_conversion(is_float, high)}"


def _conversion(is_float: bool, high: float) -> str:
    """Return the expression that converts values from 0 to `high`."""
    if is_float:
        scaled = "255 * frames" if high <= 1 else "frames"
        return f"np.rint({scaled}).clip(0, 255).astype(np.uint8)"
    if high <= 255:
        return "frames.astype(np.uint8)"
    shift = next(bits for bits in DEPTHS if high < 2**bits) - 8
    return f"(frames >> {shift}).clip(0, 255).astype(np.uint8), if the camera has {shift + 8} bits"


def as_rgb(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame `(H, W, 3)`, or a grey one `(H, W)` or `(H, W, 1)`, as `(H, W, 3)`."""
    if frame.ndim == 3 and frame.shape[-1] == RGB:
        return frame
    grey = frame[..., None] if frame.ndim == 2 else frame
    return np.repeat(grey, RGB, axis=-1)
