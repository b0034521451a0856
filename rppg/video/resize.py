"""Resampling of images by area: boxes at sub-pixel positions, and reduction by whole numbers.

For boxes, the image is interpolated linearly between its pixel centres, and an output pixel is the
mean of that surface over the pixel's cell. So a box can move by any fraction of a pixel and the
result moves with it (exactly, on a linear ramp). Rounding the box would shift the skin by up to
half a pixel, which can look like a pulse.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; pixel `j` covers `[j, j + 1)`."""

STRIP = 18
"""Output pixels computed together. Each depends on few input pixels, so strips avoid most of the
product with a large image. Smaller strips need more calls than they save."""


def resample_box(rgb: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.float32]:
    """Cut `box` out of an image and resample it to `size` × `size` pixels.

    Args:
        rgb: `(H, W, C)` uint8.
        box: may reach beyond the image, whose edge pixels are repeated there.
        size: side of the result in pixels, larger or smaller than the box.

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
    resampled = torch.cat(
        [weights @ slab[pixels.start - left : pixels.stop - left] for pixels, weights in columns]
    )
    return np.asarray(resampled.view(size, size, channels).transpose(0, 1).numpy())


def resample_box_uint8(rgb: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """As `resample_box`, rounded to uint8."""
    return np.rint(resample_box(rgb, box, size)).clip(0, 255).astype(np.uint8)


def reduce_image(rgb: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Reduce an image `(H, W, 3)` by a whole number, each pixel the mean over its area."""
    if factor == 1:
        return rgb
    height, width = (max(1, side // factor) for side in rgb.shape[:2])
    part = rgb[: height * factor, : width * factor]
    rows, columns = part.shape[0] // height, part.shape[1] // width
    cells = part.reshape(height, rows, width, columns, 3).mean(axis=(1, 3))
    return np.rint(cells).astype(np.uint8)


def _floats(part: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part)).float()


def _strips(start: float, length: float, size: int, pixels: int) -> list[tuple[slice, Tensor]]:
    """Return for each strip of outputs along one axis: the input pixels that it depends on, and
    their weights `(outputs, inputs)`."""
    edges = np.asarray(start + length / size * np.arange(size + 1), dtype=np.float64)
    return [
        _weights(edges[first : first + STRIP + 1], size / length, pixels)
        for first in range(0, size, STRIP)
    ]


def _weights(edges: NDArray[np.float64], scale: float, pixels: int) -> tuple[slice, Tensor]:
    """Return the input pixels of the cells between `edges`, and their weights."""
    index = np.arange(int(np.floor(edges[0])) - 1, int(np.ceil(edges[-1])) + 2)
    weights = np.diff(_tent_integral(edges[:, None] - (index + 0.5)), axis=0) * scale
    inside_index = np.clip(index, 0, pixels - 1)
    first, last = inside_index[0], inside_index[-1]
    if first > index[0] or last < index[-1]:  # pixels outside count as the edge pixel
        inside = np.zeros((last - first + 1, len(weights)))
        np.add.at(inside, inside_index - first, weights.T)
        weights = inside.T
    return slice(int(first), int(last) + 1), torch.from_numpy(weights.astype(np.float32))


def _tent_integral(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ∫ max(0, 1 − |v|) dv over v ≤ u."""
    u = np.clip(u, -1.0, 1.0)
    return np.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)
