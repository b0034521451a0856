"""Cutting a square out of a picture at any sub-pixel place, without aliasing.

The picture is taken as the surface that joins its pixel centres by straight lines, and an output
pixel is that surface's mean over the pixel's own cell. So a box may move by any fraction of a pixel
and the result moves with it, exactly so on a linear ramp; rounding the box instead would shake the
skin by up to half a pixel, with a rhythm that passes for a pulse.
"""

import numpy as np
import torch
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; pixel `j` covers `[j, j + 1)`."""


def cut(rgb: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.float32]:
    """Cut `box` out of a picture and bring it to `size` × `size` pixels.

    Args:
        rgb: `(H, W, C)` uint8.
        box: may reach beyond the picture, whose edge is continued there.
        size: side of the result in pixels, more or fewer than the box has.

    Returns:
        `(size, size, C)` float32 in 0–255.
    """
    x, y, width, height = box
    rows, down = _weights(y, height, size, rgb.shape[0])
    columns, across = _weights(x, width, size, rgb.shape[1])
    part = torch.from_numpy(np.ascontiguousarray(rgb[rows, columns])).float()
    high, wide, channels = part.shape
    slab = torch.from_numpy(down) @ part.view(high, wide * channels)
    slab = slab.view(size, wide, channels).transpose(0, 1).reshape(wide, size * channels)
    turned = (torch.from_numpy(across) @ slab).view(size, size, channels)
    return np.asarray(turned.transpose(0, 1).numpy())


def _weights(
    start: float, length: float, size: int, pixels: int
) -> tuple[slice, NDArray[np.float32]]:
    """The pixels that matter along one axis, and their weights `(size, pixels that matter)`."""
    edges = start + length / size * np.arange(size + 1)
    index = np.arange(int(np.floor(edges[0])) - 1, int(np.ceil(edges[-1])) + 2)
    weights = np.diff(_tent_integral(edges[:, None] - (index + 0.5)), axis=0) * (size / length)
    places = np.clip(index, 0, pixels - 1)
    first, last = places[0], places[-1]
    if first > index[0] or last < index[-1]:  # what lies outside goes to the edge
        inside = np.zeros((last - first + 1, size))
        np.add.at(inside, places - first, weights.T)
        weights = inside.T
    return slice(first, last + 1), weights.astype(np.float32)


def _tent_integral(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """∫ of max(0, 1 − |v|) over v ≤ u."""
    u = np.clip(u, -1.0, 1.0)
    return np.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)
