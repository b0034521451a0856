"""Spans: stretches of consecutive samples throughout which something is true."""

import numpy as np
from numpy.typing import ArrayLike


def true_spans(mask: ArrayLike) -> list[tuple[int, int]]:
    """Return the spans of a mask `(T,)`: the first index of each, and the one after its last."""
    flags = np.asarray(mask, dtype=np.int8)
    edges = np.flatnonzero(np.diff(flags, prepend=0, append=0))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
