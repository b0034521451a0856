"""Where pictures come from: a file, or anything else that gives frames with their times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.decode import check_span, log, probe, read_frames


@dataclass(frozen=True)
class VideoFile:
    """A video file on its own clock."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def reading(self) -> str:
        return "video file"

    def probe(self) -> VideoInfo:
        return probe(self.path)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        return read_frames(self.path, start_s, duration_s, reduce=reduce)


def call_name(function: Callable[..., object]) -> str:
    """A function's full name, of a partial one with its arguments but for paths."""
    if not isinstance(function, partial):
        return f"{function.__module__}.{function.__qualname__}"
    given = [repr(value) for value in function.args if not isinstance(value, Path)]
    given += [f"{name}={value!r}" for name, value in sorted(function.keywords.items())]
    return f"{call_name(function.func)}({', '.join(given)})"


def span(
    name: str, frames: Iterator[Frame], start_s: float, duration_s: float | None
) -> Iterator[Frame]:
    """The part of a source that was asked for, its first frame at 0.

    Frames whose time doesn't lie after the frame before are left out, and a warning is logged with
    their number. Frames after the part are never read.

    Raises:
        InputError: no frame in the part asked for, or no such part.
    """
    check_span(name, start_s, duration_s)
    first = last = None
    unordered = 0
    for frame in frames:
        if frame.time_s < start_s - 1e-6:
            continue
        if last is not None and frame.time_s <= last:
            unordered += 1
            continue
        if first is None:
            first = frame.time_s
        if duration_s is not None and frame.time_s - first >= duration_s - 1e-6:
            break
        last = frame.time_s
        yield replace(frame, time_s=frame.time_s - first)
    if unordered:
        log.warning(
            "%s: %d frames have a time not after the frame before; they are left out",
            name,
            unordered,
        )
    if first is None:
        raise InputError(f"{name}: no picture from {start_s} s on; check the files")


def reduced(rgb: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    """A picture `(H, W, 3)` made smaller by a whole number, each pixel the mean over its area."""
    if by == 1:
        return rgb
    height, width = (max(1, side // by) for side in rgb.shape[:2])
    part = rgb[: height * by, : width * by]
    rows, columns = part.shape[0] // height, part.shape[1] // width
    cells = part.reshape(height, rows, width, columns, 3).mean(axis=(1, 3))
    return np.rint(cells).astype(np.uint8)
