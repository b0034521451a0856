"""Overlap-add of a network's waves: clips that overlap by half, added with Hann weights."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def add_waves(
    frames: Tensor, length: int, batch: int, waves_of: Callable[[Tensor], Array]
) -> Array:
    """Cut a recording into clips, compute the wave of each, and add them: `(..., T)`.

    Args:
        frames: input of the network for each frame, `(T, ...)`.
        length: length of a clip in frames; the whole recording if that is shorter.
        batch: number of clips that are computed together.
        waves_of: function of clips `(B, length, ...)` that returns the waves of each,
            `(B, ..., length)`.
    """
    length = min(length, len(frames))
    starts = clip_starts(len(frames), length)
    waves = [waves_of(clips) for clips in clip_batches(frames, starts, length, batch)]
    return overlap_add(np.concatenate(waves), starts, len(frames))


def clip_starts(total: int, length: int) -> NDArray[np.intp]:
    """Return the first frames `(N,)` of the clips of a recording of `total` frames.

    They are at even distances, so that the last clip ends with the recording.
    """
    count = max(1, int(np.ceil((total - length) / (length / 2))) + 1)
    return np.linspace(0, total - length, count).round().astype(np.intp)


def clip_batches(
    frames: Tensor, starts: NDArray[np.intp], length: int, batch: int
) -> Iterator[Tensor]:
    """Yield the clips of frames `(T, ...)`, `(B, length, ...)` of at most `batch` clips."""
    for first in range(0, len(starts), batch):
        yield torch.stack([frames[i : i + length] for i in starts[first : first + batch]])


def overlap_add(waves: Array, starts: NDArray[np.intp], total: int) -> Array:
    """Add the waves `(N, ..., length)` of clips with Hann weights: `(..., total)`."""
    length = waves.shape[-1]
    weight = np.hanning(length + 2)[1:-1]
    added, weights = np.zeros((*waves.shape[1:-1], total)), np.zeros(total)
    for start, wave in zip(starts, waves, strict=True):
        added[..., start : start + length] += weight * wave
        weights[start : start + length] += weight
    return added / weights
