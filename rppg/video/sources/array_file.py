"""Pictures in the arrays of a file, read whole or block by block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.sources.source import call_name, reduced, span

Block = NDArray[np.generic]


@dataclass(frozen=True)
class ArrayVideo:
    """Frames at a documented rate, given as blocks `(N, H, W, 3)` of 0–1 floats or of uint8.

    Attributes:
        path: the file that holds them.
        fps: frame rate in Hz.
        shape: from the file's header: `(T, H, W, 3)`.
        blocks: the file's frames in blocks of any length.
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
        return f"arrays, {call_name(self.blocks)}, {self.fps} Hz"

    def probe(self) -> VideoInfo:
        count, height, width = self._shape()
        return VideoInfo(width, height, self.fps, count / self.fps, count, rotation=0)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        return span(self.name, self._all(reduce), start_s, duration_s)

    def _all(self, reduce: int) -> Iterator[Frame]:
        self._shape()
        number = 0
        for block in self.blocks(self.path):
            for picture in block:
                rgb = to_bytes(picture, f"{self.name}, frame {number}")
                yield Frame(number / self.fps, reduced(rgb, reduce))
                number += 1

    def _shape(self) -> tuple[int, int, int]:
        shape = self.shape(self.path)
        if len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise InputError(
                f"{self.name}: pictures of shape {shape}; expected (frames, height, width, 3)"
            )
        return shape[0], shape[1], shape[2]


def to_bytes(picture: Block, name: str) -> NDArray[np.uint8]:
    """A picture of 0–1 floats, or of 0–255 numbers, as uint8.

    Raises:
        InputError: values that are not finite, or outside of both ranges.
    """
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    values = picture.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{name}: values that are not finite; copy the file again")
    if low < -0.01 or high > 255.5:
        raise InputError(f"{name}: values from {low:g} to {high:g}; expected 0 to 1, or 0 to 255")
    scale = 255.0 if high <= 1.01 else 1.0
    return np.rint(values * scale).clip(0, 255).astype(np.uint8)
