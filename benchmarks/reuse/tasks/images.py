"""scikit-learn's digits in uneven light, which is independent of the digit.

    image = digit + Σ_k a_k shade_k,      a_k ~ N(0, strength²)

The shades are a few smooth fields. Blank images, which can be recorded by covering the scene with a
sheet of paper, show only shades: these are the noise observations.
"""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor

PIXELS = 64
CLASSES = 10


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return all 1797 images (n, 64) in 0..1, and the labels, for evaluation only."""
    data = load_digits()
    images = torch.from_numpy(data.data).float() / 16
    return images, torch.from_numpy(data.target)


def split(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `count` images and labels, and the remaining ones, in an order drawn from the seed."""
    images, labels = digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    first, rest = order[:count], order[count:]
    return images[first], labels[first], images[rest], labels[rest]


@cache
def shades(count: int) -> Tensor:
    """Return orthonormal smooth fields (count, 64): the lowest cosines, the constant first."""
    x = (torch.arange(8) + 0.5) / 8
    waves = [(i, j) for total in range(4) for i in range(total + 1) for j in [total - i]]
    fields = [
        torch.outer(torch.cos(torch.pi * i * x), torch.cos(torch.pi * j * x)).flatten()
        for i, j in waves[:count]
    ]
    return torch.stack([field / field.norm() for field in fields])


def shade(images: int, strength: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw the uneven light that is added to images, (images, 64)."""
    return strength * torch.randn(images, count, generator=generator) @ shades(count)
