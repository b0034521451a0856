"""Power spectrum of a pulse signal."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len, rfftfreq
from scipy.signal import periodogram

from rppg.errors import InputError

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
    size = next_fast_len(max(n, int(np.ceil(fps * 60.0 / resolution_bpm))), real=True)
    if signal.size == 0:  # no rows: SciPy would return the wrong shape
        return rfftfreq(size, 1 / fps), np.zeros((*signal.shape[:-1], size // 2 + 1))
    shifted = signal - signal[..., :1]  # a constant becomes exactly 0, without rounding errors
    frequencies, power = periodogram(shifted, fps, window="hann", nfft=size, detrend="constant")
    return np.asarray(frequencies, dtype=np.float64), np.asarray(power, dtype=np.float64)
