"""Colour traces of face crops: the spatial mean of the face, or of its skin."""

import numpy as np
from numpy.typing import NDArray

from rppg.methods.skin import skin_mask
from rppg.types import CROP_TO_FACE


def skin_trace(
    frames: NDArray[np.uint8] | NDArray[np.float32],
    face_share: float = 1 / CROP_TO_FACE,
    *,
    skin: bool = False,
) -> NDArray[np.float64]:
    """Compute the mean colour `(..., T, C)` of the ellipse inscribed in the face box.

    Args:
        frames: crops `(..., T, S, S, C)`, any range.
        face_share: side of the face box in units of the crop's side; the box is central.
        skin: use only the pixels that are skin, see `rppg.methods.skin`.

    Raises:
        InputError: `skin` is True, and no skin was found.
    """
    height, width = frames.shape[-3:-1]
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    face = y[:, None] ** 2 + x**2 <= face_share**2
    pixels = frames[..., face, :]
    if not skin:
        return np.asarray(np.mean(pixels, axis=-2, dtype=np.float64))
    weights = skin_mask(frames, face)[..., face]
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.asarray(np.einsum("...tpc,...p->...tc", pixels, weights))
