"""From face crops to colour traces: the spatial mean of the face."""

import numpy as np
from numpy.typing import NDArray

from rppg.records import CROP_TO_FACE


def skin_trace(
    frames: NDArray[np.uint8] | NDArray[np.float32], face_share: float = 1 / CROP_TO_FACE
) -> NDArray[np.float64]:
    """Mean colour `(..., T, C)` of the ellipse inscribed in the face box.

    Args:
        frames: crops `(..., T, S, S, C)`, any range.
        face_share: side of the face box in units of the crop's side; the box is central.
    """
    height, width = frames.shape[-3:-1]
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    face = y[:, None] ** 2 + x**2 <= face_share**2
    return np.asarray(np.mean(frames[..., face, :], axis=-2, dtype=np.float64))
