"""Skin mask: the pixels of the face whose chromaticity is that of the face's skin.

Skin of all tones forms a compact cluster in chromaticity, and the skin of one person in one light a
smaller one. So the cluster is fitted to each recording, not to a population (Yang and Waibel, "A
real-time face tracker", WACV 1996; with medians instead of means, because hair, glasses and a beard
may lie in the face).
"""

import numpy as np
import scipy  # imports its parts when they are used: most are slow to import
from numpy.typing import NDArray

from rppg.errors import InputError

Array = NDArray[np.float64]

INSIDE = 0.99
"""Share of the cluster's pixels that the limit on their distance includes."""
SEED = 0.6
"""Size of the inner part of the face that the cluster is fitted to, relative to the face."""
DARK, BRIGHT = 0.5, 1.6
"""Limits of the skin's brightness, in units of the face's median: eyes and hair can have the skin's
chromaticity, and glare has the lamp's."""
LEAST_SPREAD = 0.01
"""Minimum standard deviation of the cluster: a uniform image has none."""
MOST_SPREAD = 0.25
"""Maximum standard deviation of the cluster, in logarithms of ratios: a face has about 0.05."""
LEAST_SHARE = 0.1
"""Minimum share of the face that must be skin."""


def skin_mask(frames: NDArray[np.uint8] | NDArray[np.float32], face: NDArray[np.bool_]) -> Array:
    """Return the skin mask `(..., S, S)` of a recording: 1 for skin, 0 for other pixels.

    The mask is constant over the recording. One that changed would add its changes to the pulse.

    Args:
        frames: crops `(..., T, S, S, C)` of at least two channels, any range.
        face: `(S, S)`, True inside the face; pixels outside of it are not skin.

    Raises:
        InputError: the frames have one channel, or the pixels have no common colour.
    """
    if frames.shape[-1] < 2:
        raise InputError(
            f"can't find skin by colour in frames of {frames.shape[-1]} channel; leave the skin "
            "mask out"
        )
    mean = np.mean(frames, axis=-4, dtype=np.float64)
    flat = mean.reshape(-1, *mean.shape[-3:])
    masks = np.stack([_mask_of_mean(image, face) for image in flat])
    return masks.reshape(mean.shape[:-1])


def _mask_of_mean(image: Array, face: NDArray[np.bool_]) -> Array:
    """Return the skin mask of a recording's mean image `(S, S, C)`."""
    brightness = image.mean(axis=-1)
    # In logarithms of ratios, the camera's white balance shifts all pixels equally.
    logs = np.log(np.maximum(image, 1.0))
    chroma = logs[..., :-1] - logs.mean(axis=-1, keepdims=True)
    seed = face & _inner_ellipse(face)
    level = np.median(brightness[seed])
    centre = np.median(chroma[seed], axis=0)
    offset = chroma - centre
    limit = scipy.stats.chi2.ppf(INSIDE, chroma.shape[-1])
    near = seed & (brightness > DARK * level)
    for _ in range(3):  # alternate between the cluster's covariance and its pixels
        covariance = np.atleast_2d(np.cov(offset[near], rowvar=False, bias=True))
        covariance = covariance + LEAST_SPREAD**2 * np.eye(len(covariance))
        distance = np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset)
        inside = distance <= limit
        near = seed & inside & (brightness > DARK * level)
        if not near.any():
            break
    mask = face & inside & (brightness > DARK * level) & (brightness < BRIGHT * level)
    too_wide = np.trace(covariance) > len(covariance) * MOST_SPREAD**2
    if mask.sum() < LEAST_SHARE * face.sum() or too_wide:
        raise InputError(
            "the face's pixels have no common colour that could be skin; leave the skin mask out"
        )
    return mask.astype(np.float64)


def _inner_ellipse(face: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the ellipse inscribed in the face's bounding box, scaled by `SEED`."""
    rows, columns = np.nonzero(face)
    y, x = np.indices(face.shape)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    v = (y - rows.mean()) / (height / 2)
    u = (x - columns.mean()) / (width / 2)
    return np.asarray(u**2 + v**2 <= SEED**2)
