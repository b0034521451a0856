"""Frames in the arrays of a file, read as a whole or block by block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.resize import reduce_image
from rppg.video.sources.identity import describe_function
from rppg.video.time_range import select_time_range

Block = NDArray[np.generic]


@dataclass(frozen=True)
class ArrayVideo:
    """Frames at a documented rate, in blocks `(N, H, W, 3)` of 0–1 floats or of uint8.

    Attributes:
        path: the file.
        fps: frame rate in Hz.
        shape: a function that reads `(T, H, W, 3)` from the file's header.
        blocks: a function that yields the file's frames in blocks of any length.
    """

    path: Path
    fps: float
    shape: Callable[[Path], tuple[int, ...]]
    blocks: Callable[[Path], Iterator[Block]]

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def reading(self) -> str:
        return f"arrays, {describe_function(self.blocks)}, {self.fps} Hz"

    def probe(self) -> VideoInfo:
        count, height, width = self._shape()
        return VideoInfo(width, height, self.fps, count / self.fps, count, rotation=0)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        return select_time_range(self.name, self._all_frames(reduce), start_s, duration_s)

    def _all_frames(self, reduce: int) -> Iterator[Frame]:
        self._shape()
        index = 0
        for block in self.blocks(self.path):
            for values in block:
                rgb = to_bytes(values, f"{self.name}, frame {index}")
                yield Frame(index / self.fps, reduce_image(rgb, reduce))
                index += 1

    def _shape(self) -> tuple[int, int, int]:
        shape = self.shape(self.path)
        if len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise InputError(
                f"{self.name}: frames of shape {shape}; expected (frames, height, width, 3)"
            )
        return shape[0], shape[1], shape[2]


def to_bytes(frame: Block, name: str) -> NDArray[np.uint8]:
    """Convert a frame of 0–1 floats or of 0–255 numbers to uint8.

    Raises:
        InputError: values that are not finite, or outside both ranges.
    """
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    values = frame.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{name}: values that are not finite; copy the file again")
    if low < -0.01 or high > 255.5:
        raise InputError(f"{name}: values from {low:g} to {high:g}; expected 0 to 1, or 0 to 255")
    scale = 255.0 if high <= 1.01 else 1.0
    return np.rint(values * scale).clip(0, 255).astype(np.uint8)
