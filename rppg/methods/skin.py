"""Which pixels of the face are skin: those whose colour, apart from brightness, is the face's own.

Skin of all tones lies close together in chromaticity, and the skin of one person in one light
closer still, so the cluster is fitted to the recording and not to people at large (Yang and Waibel,
"A real-time face tracker", WACV 1996, with medians in place of means: hair, glasses and a beard may
lie in the face as well).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from rppg.errors import InputError

Array = NDArray[np.float64]

INSIDE = 0.99
"""Share of the cluster's own pixels that are taken for skin."""
SEED = 0.6
"""The cluster is fitted to this inner part of the face, in units of its side."""
DARK, BRIGHT = 0.5, 1.6
"""Skin is between these multiples of the face's median brightness: eyes and hair can have the
skin's chromaticity, and glare has the lamp's."""
SPREAD = 0.01
"""Least deviation of the cluster: flat pictures would have none."""
WIDEST = 0.25
"""Most deviation, in logarithms of ratios: a face has some 0.05."""
LEAST = 0.1
"""Least share of the face that must be skin."""


def skin_mask(frames: NDArray[np.uint8] | NDArray[np.float32], face: NDArray[np.bool_]) -> Array:
    """Share `(..., S, S)` of each pixel that counts as skin, 0 or 1, for a whole recording.

    The mask stays the same over the recording: one that changes would put its own changes into the
    pulse.

    Args:
        frames: crops `(..., T, S, S, C)` of at least two channels, any range.
        face: `(S, S)`, where the face is; nothing outside of it is skin.

    Raises:
        InputError: one channel; pixels that have no colour in common.
    """
    if frames.shape[-1] < 2:
        raise InputError(
            f"skin can't be told by colour in pictures of {frames.shape[-1]} channel; leave the "
            "skin mask out"
        )
    mean = np.mean(frames, axis=-4, dtype=np.float64)
    flat = mean.reshape(-1, *mean.shape[-3:])
    masks = np.stack([_one(picture, face) for picture in flat])
    return masks.reshape(mean.shape[:-1])


def _one(picture: Array, face: NDArray[np.bool_]) -> Array:
    """The mask of one mean picture `(S, S, C)`."""
    brightness = picture.mean(axis=-1)
    # Logarithms of ratios: one gain of the camera's white balance shifts all pixels alike.
    logs = np.log(np.maximum(picture, 1.0))
    chroma = logs[..., :-1] - logs.mean(axis=-1, keepdims=True)
    seed = face & _shrunk(face)
    level = np.median(brightness[seed])
    centre = np.median(chroma[seed], axis=0)
    off = chroma - centre
    limit = chi2.ppf(INSIDE, chroma.shape[-1])
    near = seed & (brightness > DARK * level)
    for _ in range(3):  # the spread of the pixels inside, which are those inside of that spread
        covariance = np.atleast_2d(np.cov(off[near], rowvar=False, bias=True))
        covariance = covariance + SPREAD**2 * np.eye(len(covariance))
        distance = np.einsum("...i,ij,...j", off, np.linalg.inv(covariance), off)
        inside = distance <= limit
        near = seed & inside & (brightness > DARK * level)
        if not near.any():
            break
    mask = face & inside & (brightness > DARK * level) & (brightness < BRIGHT * level)
    if mask.sum() < LEAST * face.sum() or np.trace(covariance) > len(covariance) * WIDEST**2:
        raise InputError(
            "the face's pixels have no colour in common that could be its skin's; leave the skin "
            "mask out"
        )
    return mask.astype(np.float64)


def _shrunk(face: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The middle of the face: the ellipse made smaller by `SEED`."""
    rows, columns = np.nonzero(face)
    y, x = np.indices(face.shape)
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    v = (y - rows.mean()) / (high / 2)
    u = (x - columns.mean()) / (wide / 2)
    return np.asarray(u**2 + v**2 <= SEED**2)
