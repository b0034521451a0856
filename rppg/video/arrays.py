"""Pictures in arrays: in memory, or read block by block from an HDF5 file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.video.decode import Frame, VideoInfo
from rppg.video.source import reduced, span

Block = NDArray[np.generic]


@dataclass(frozen=True)
class ArrayVideo:
    """Frames at a documented rate, given as blocks `(N, H, W, 3)` of 0–1 floats or of uint8.

    Attributes:
        name: stands in messages.
        fps: frame rate in Hz.
        shape: opens the source's header: `(T, H, W, 3)`.
        blocks: opens the source: its frames in blocks of any length.
    """

    name: str
    fps: float
    shape: Callable[[], tuple[int, ...]]
    blocks: Callable[[], Iterator[Block]]

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
        for block in self.blocks():
            for picture in block:
                rgb = to_bytes(picture, f"{self.name}, frame {number}")
                yield Frame(number / self.fps, reduced(rgb, reduce))
                number += 1

    def _shape(self) -> tuple[int, int, int]:
        shape = self.shape()
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
