"""Spans: stretches of consecutive samples throughout which something is true."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.signals.resample import resample


def true_spans(mask: ArrayLike) -> list[tuple[int, int]]:
    """Return the spans of a mask `(T,)`: the first index of each, and the one after its last."""
    flags = np.asarray(mask, dtype=np.int8)
    edges = np.flatnonzero(np.diff(flags, prepend=0, append=0))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def visible_spans(
    valid: ArrayLike, times_s: ArrayLike, grid_s: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Return the spans of a grid in which no point depends on a frame without the face.

    Args:
        valid: `(T,)`, False where the face was lost.
        times_s: `(T,)` times of the frames in seconds.
        grid_s: `(N,)` uniform, in seconds.

    Raises:
        InputError: `valid` and `times_s` differ in length, or the times do not increase.
    """
    return true_spans(resample(valid, times_s, grid_s) > 1 - 1e-6)
