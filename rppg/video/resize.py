"""Cutting a square out of a picture at any sub-pixel place, without aliasing.

The picture is taken as the surface that joins its pixel centres by straight lines, and an output
pixel is that surface's mean over the pixel's own cell. So a box may move by any fraction of a pixel
and the result moves with it, exactly so on a linear ramp; rounding the box instead would shake the
skin by up to half a pixel, with a rhythm that passes for a pulse.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; pixel `j` covers `[j, j + 1)`."""

STRIP = 18
"""Output pixels computed together: each needs a few input pixels only, so strips save most of the
product with a large picture; smaller ones cost more calls than they save."""


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
    rows = _strips(y, height, size, rgb.shape[0])
    columns = _strips(x, width, size, rgb.shape[1])
    left, right = columns[0][0].start, columns[-1][0].stop
    wide, channels = right - left, rgb.shape[2]
    slab = torch.cat(
        [
            weights @ _floats(rgb[pixels, left:right]).view(-1, wide * channels)
            for pixels, weights in rows
        ]
    )
    slab = slab.view(size, wide, channels).transpose(0, 1).reshape(wide, size * channels)
    turned = torch.cat(
        [weights @ slab[pixels.start - left : pixels.stop - left] for pixels, weights in columns]
    )
    return np.asarray(turned.view(size, size, channels).transpose(0, 1).numpy())


def cut_bytes(rgb: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """As `cut`, rounded to bytes."""
    return np.rint(cut(rgb, box, size)).clip(0, 255).astype(np.uint8)


def _floats(part: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part)).float()


def _strips(start: float, length: float, size: int, pixels: int) -> list[tuple[slice, Tensor]]:
    """Along one axis, for each strip of outputs: the pixels that matter and their weights
    `(outputs, pixels that matter)`."""
    edges = np.asarray(start + length / size * np.arange(size + 1), dtype=np.float64)
    return [
        _weights(edges[first : first + STRIP + 1], size / length, pixels)
        for first in range(0, size, STRIP)
    ]


def _weights(edges: NDArray[np.float64], scale: float, pixels: int) -> tuple[slice, Tensor]:
    """The pixels that matter for the cells between `edges`, and their weights."""
    index = np.arange(int(np.floor(edges[0])) - 1, int(np.ceil(edges[-1])) + 2)
    weights = np.diff(_tent_integral(edges[:, None] - (index + 0.5)), axis=0) * scale
    places = np.clip(index, 0, pixels - 1)
    first, last = places[0], places[-1]
    if first > index[0] or last < index[-1]:  # what lies outside goes to the edge
        inside = np.zeros((last - first + 1, len(weights)))
        np.add.at(inside, places - first, weights.T)
        weights = inside.T
    return slice(int(first), int(last) + 1), torch.from_numpy(weights.astype(np.float32))


def _tent_integral(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """∫ of max(0, 1 − |v|) over v ≤ u."""
    u = np.clip(u, -1.0, 1.0)
    return np.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)
