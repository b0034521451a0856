"""Power spectrum of a pulse signal."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError
from rppg.signals.hann import hann_window

Array = NDArray[np.float64]


def power_spectrum(x: ArrayLike, fps: float, resolution_bpm: float = 0.1) -> tuple[Array, Array]:
    """Compute a Hann-windowed periodogram, zero padded to a spacing of `resolution_bpm` or less.

    Args:
        x: `(..., T)`, any units; its mean is removed.
        fps: sampling rate in Hz.
        resolution_bpm: spacing of the frequency grid. The duration alone determines which two
            frequencies can be distinguished.

    Returns:
        Frequencies in Hz `(F,)`, and the one-sided power density `(..., F)` in units² / Hz.

    Raises:
        InputError: an empty signal.
    """
    signal = np.asarray(x, dtype=np.float64)
    n = signal.shape[-1]
    if n == 0:
        raise InputError("the signal is empty; give at least one sample")
    size = _fast_length(max(n, int(np.ceil(fps * 60.0 / resolution_bpm))))
    shifted = signal - signal[..., :1]  # a constant becomes exactly 0, without rounding errors
    centred = shifted - shifted.mean(axis=-1, keepdims=True)
    window = hann_window(n)
    window *= 1 / np.sqrt(np.cumsum(window**2)[-1] / (1 / fps))
    spectrum = np.fft.rfft(centred * window, n=size)
    power = spectrum.real**2 + spectrum.imag**2
    power[..., 1 : -1 if size % 2 == 0 else None] *= 2  # the negative frequencies'
    return np.asarray(np.fft.rfftfreq(size, 1 / fps), dtype=np.float64), power


def _fast_length(least: int) -> int:
    """Return the smallest length of no prime factor above 5, whose transform is fast."""
    length = least
    while pow(30, length.bit_length(), length):  # 0 if length divides a power of 30
        length += 1
    return length
