"""The crops of the last seconds of one scene, in bounded memory."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from rppg.estimators.streaming import SPLIT_S
from rppg.signals.face_time import face_seconds
from rppg.types import FaceCrops
from rppg.video.tracked_crop import Crop

BUFFER_S = 30.0
"""Length that is kept: a window of 10 s, and the time around it that its quality rests on."""


class CropBuffer:
    """The crops of the last `BUFFER_S`, since the last cut or gap of more than `SPLIT_S`."""

    def __init__(self) -> None:
        self._crops: deque[Crop] = deque()

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self._crops)

    def add(self, crops: Iterable[Crop]) -> None:
        """Add crops, in their order, and forget those that are too old."""
        for crop in crops:
            last = self._crops[-1] if self._crops else crop
            if crop.scene != last.scene or crop.time_s - last.time_s > SPLIT_S:
                self._crops.clear()
            self._crops.append(crop)
            while len(self._crops) > 1 and self._crops[1].time_s <= crop.time_s - BUFFER_S:
                self._crops.popleft()

    def clear(self) -> None:
        """Forget all crops."""
        self._crops.clear()

    def newest(self, length_s: float) -> FaceCrops:
        """Return the newest crops, at least one: those of `length_s` and the one before, or all."""
        first_s = self._crops[-1].time_s - length_s
        crops = list(self._crops)
        later = [index for index, crop in enumerate(crops) if crop.time_s > first_s]
        crops = crops[max(0, later[0] - 1) :]
        return FaceCrops(
            frames=np.stack([crop.pixels for crop in crops]),
            times_s=np.array([crop.time_s for crop in crops]),
            valid=np.array([crop.is_valid for crop in crops]),
            boxes=np.array([crop.box for crop in crops]),
            is_key=np.array([crop.is_key for crop in crops]),
            repeats=np.array([crop.repeats for crop in crops]),
        )

    @property
    def in_view_s(self) -> float:
        """Time for which the crops show the face, in seconds."""
        return face_seconds(
            np.array([crop.time_s for crop in self._crops]),
            np.array([crop.is_valid for crop in self._crops], dtype=np.bool_),
        )

    @property
    def length_s(self) -> float:
        """Time from the first crop to the last, in seconds."""
        return self._crops[-1].time_s - self._crops[0].time_s if self._crops else 0.0
