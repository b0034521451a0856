"""Frames that arrive one by one, from any iterable: a camera, or another library's decoder."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import Frame, VideoInfo
from rppg.video.resize import reduce_image
from rppg.video.sources.pixels import as_rgb, check_frame
from rppg.video.time_range import select_time_range

PROBED = 2
"""Frames that are read to know size and rate."""


class FrameStream:
    """Frames `(H, W, 3)` uint8 RGB, or grey `(H, W)`, each with its time. They can be read once.

    The iterable is read in another thread, a little ahead. Each frame is copied, so that it may
    yield the same array again and again.

    Args:
        items: frames, or pairs of a time in seconds and a frame.
        fps: the frame rate in Hz; None if the items are pairs.

    Raises:
        InputError: from `probe` and `frames`: no frames; items that are no frames or have none of
            these shapes; times that are missing, not finite or not increasing.
    """

    files: tuple[Path, ...] = ()
    reading = "frames from an iterable"

    def __init__(self, items: Iterable[Any], fps: float | None, name: str = "frames") -> None:
        self.name = name
        self._items = iter(items)
        self._fps = fps
        self._probed: list[tuple[float, NDArray[np.uint8]]] = []
        self._count = 0
        self._shape: tuple[int, ...] | None = None
        self._last_s = -np.inf

    def probe(self) -> VideoInfo:
        """Read the first frames, for size and rate."""
        if not self._probed:
            self._probed = list(islice(self._timed(), PROBED))
        if len(self._probed) < PROBED:
            raise InputError(
                f"{self.name}: the iterable has {len(self._probed)} frames; was it read before? "
                "Give a new one"
            )
        (first_s, frame), (second_s, _) = self._probed
        fps = self._fps or 1 / (second_s - first_s)
        return VideoInfo(frame.shape[1], frame.shape[0], fps, 0.0, 0, rotation=0)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        """Yield the frames of a time range, the first with time 0."""
        self.probe()
        first_s = self._probed[0][0]
        timed = (
            Frame(time_s - first_s, reduce_image(rgb, reduce))
            for time_s, rgb in chain(self._probed, self._timed())
        )
        return select_time_range(self.name, timed, start_s, duration_s)

    def _timed(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for item in self._items:
            time_s, frame = self._time_and_frame(item)
            self._check_time(time_s)
            self._check_frame(frame)
            self._last_s = time_s
            self._count += 1
            yield time_s, as_rgb(frame.copy())

    def _time_and_frame(self, item: Any) -> tuple[float, NDArray[Any]]:
        if not (isinstance(item, tuple | list) and len(item) == 2):
            if self._fps is None:
                raise InputError(
                    f"{self.name} without times; give fps=30, or pairs (time in seconds, frame)"
                )
            return self._count / self._fps, item
        if self._fps is not None:
            raise InputError(f"{self.name}: both times and fps; give one of them")
        try:
            return float(item[0]), item[1]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self.name}: the time of frame {self._count} is not a number ({error}); "
                "expected seconds"
            ) from error

    def _check_time(self, time_s: float) -> None:
        if not (np.isfinite(time_s) and time_s > self._last_s):
            raise InputError(
                f"{self.name}: times must be finite and increase, but frame {self._count} has "
                f"{time_s} s after {self._last_s} s; sort the frames and drop repeated ones"
            )

    def _check_frame(self, frame: Any) -> None:
        name = f"{self.name} ({self._count})"
        check_frame(frame, name)
        if self._shape is not None and frame.shape != self._shape:
            raise InputError(f"{name} have shape {frame.shape}; those before {self._shape}")
        self._shape = frame.shape
