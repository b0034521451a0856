"""The boxes of the face that was measured, collected while its crops pass."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rppg.types import CROP_TO_FACE, FaceCrops

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]


class FaceBoxes:
    """The face's box in each frame that shows it: x, y, width, height in pixels of the video.

    Args:
        box: the box that was given in place of a detection.
        full_frame: the face fills the crops.
    """

    def __init__(self, box: Box | None = None, *, full_frame: bool = False) -> None:
        self._box = box
        self._full_frame = full_frame
        self._first_s: float | None = None
        self._times: list[Array] = []
        self._boxes: list[Array] = []

    def collect(self, pieces: Iterator[FaceCrops]) -> Iterator[FaceCrops]:
        """Yield the pieces; their boxes are collected on the way."""
        for crops in pieces:
            if self._first_s is None:
                self._first_s = float(crops.times_s[0])
            if crops.boxes is not None:
                self._times.append(crops.times_s[crops.valid] - self._first_s)
                self._boxes.append(self._faces(crops.boxes[crops.valid]))
            yield crops

    def median(self) -> Box | None:
        """Return the median box; None if no frame has one."""
        boxes = np.concatenate([np.zeros((0, 4)), *self._boxes])
        if len(boxes) == 0:
            return None
        x, y, width, height = (float(side) for side in np.median(boxes, axis=0))
        return x, y, width, height

    def of_windows(self, start_s: Array, end_s: Array) -> Array:
        """Return the median box `(W, 4)` of each window, NaN where no frame has one.

        Args:
            start_s: `(W,)` starts of the windows, seconds from the first frame.
            end_s: `(W,)` their ends.
        """
        times = np.concatenate([np.zeros(0), *self._times])
        boxes = np.concatenate([np.zeros((0, 4)), *self._boxes])
        medians = np.full((len(start_s), 4), np.nan)
        for index, span in enumerate(np.searchsorted(times, np.stack([start_s, end_s], axis=-1))):
            if span[0] < span[1]:
                medians[index] = np.median(boxes[slice(*span)], axis=0)
        return medians

    def _faces(self, crops: Array) -> Array:
        """Return the face boxes `(T, 4)` of crop boxes."""
        if self._box is not None:
            return np.broadcast_to(np.array(self._box, dtype=np.float64), crops.shape)
        if self._full_frame:
            return crops
        sides = crops[:, 2:] / CROP_TO_FACE
        return np.hstack([crops[:, :2] + (crops[:, 2:] - sides) / 2, sides])
