"""Sliding windows of fixed length over uniformly sampled signals."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError

Scalar = TypeVar("Scalar", bound=np.generic)

WINDOWS_AT_ONCE = 64
"""Number of windows that are computed together, which bounds the memory: a fine spectrum is about a
hundred times larger than its window."""


def sliding_windows(
    x: NDArray[Scalar], fps: float, *, length_s: float = 10.0, stride_s: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[Scalar]]:
    """Cut a signal into windows that lie wholly within it.

    Args:
        x: `(..., T)`.
        fps: sampling rate in Hz.
        length_s: length of a window in seconds.
        stride_s: time between the starts of two windows in seconds.

    Returns:
        Starts in seconds from the first sample `(W,)`, and the windows `(..., W, L)`. W is 0 if the
        signal is shorter than one window.

    Raises:
        InputError: a length or stride under one sample.
    """
    length = round(length_s * fps)
    if length < 1 or stride_s * fps < 1:
        raise InputError(
            f"windows of {length_s} s every {stride_s} s at {fps:g} Hz are under one sample; "
            "give longer ones"
        )
    count = max(0, int(np.floor((x.shape[-1] - length) / (stride_s * fps) + 1e-9)) + 1)
    starts = np.minimum(np.round(np.arange(count) * stride_s * fps), x.shape[-1] - length)
    return starts / fps, windows_at(x, starts.astype(np.intp), length)


def windows_at(x: NDArray[Scalar], starts: NDArray[np.intp], length: int) -> NDArray[Scalar]:
    """Cut the windows `(..., W, length)` that start at the samples `(W,)` of `(..., T)`."""
    return x[..., starts[:, None] + np.arange(length)]


def valid_share(
    valid: NDArray[np.bool_], fps: float, *, length_s: float = 10.0, stride_s: float = 1.0
) -> NDArray[np.float64]:
    """Compute the share `(..., W)` of valid samples in each of the windows of `sliding_windows`."""
    _, windows = sliding_windows(valid, fps, length_s=length_s, stride_s=stride_s)
    return np.asarray(np.mean(windows, axis=-1, dtype=np.float64))


def batches_of_windows(count: int) -> list[slice]:
    """Return the slices that divide `count` windows into batches of up to `WINDOWS_AT_ONCE`."""
    return [slice(first, first + WINDOWS_AT_ONCE) for first in range(0, count, WINDOWS_AT_ONCE)]
