"""Overlap-add of a network's waves: clips that overlap by half, added with Hann weights."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def add_waves(
    frames: Tensor, length: int, batch: int, waves_of: Callable[[Tensor], Array]
) -> Array:
    """Cut a recording into clips, compute the wave of each, and add them: `(..., T)`.

    The clips start at even distances, so that the last one ends with the recording.

    Args:
        frames: input of the network for each frame, `(T, ...)`.
        length: length of a clip in frames; the whole recording if that is shorter.
        batch: number of clips that are computed together.
        waves_of: function of clips `(B, length, ...)` that returns the waves of each,
            `(B, ..., length)`.
    """
    total = len(frames)
    length = min(length, total)
    count = max(1, int(np.ceil((total - length) / (length / 2))) + 1)
    starts = np.linspace(0, total - length, count).round().astype(int)
    weight = np.hanning(length + 2)[1:-1]
    added, weights = np.zeros(0), np.zeros(total)
    for first in range(0, count, batch):
        part = starts[first : first + batch]
        waves = waves_of(torch.stack([frames[i : i + length] for i in part]))
        if first == 0:
            added = np.zeros((*waves.shape[1:-1], total))
        for start, wave in zip(part, waves, strict=True):
            added[..., start : start + length] += weight * wave
            weights[start : start + length] += weight
    return added / weights
