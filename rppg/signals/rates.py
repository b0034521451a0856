"""Heart rate over time: one estimate with a quality index for each window."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.quality import quality
from rppg.signals.spectrum import heart_rate_bpm
from rppg.signals.windows import sliding_windows, valid_share

Array = NDArray[np.float64]

WINDOWS_AT_ONCE = 64
"""Windows whose spectra are held at a time: bounds the memory."""


@dataclass(frozen=True)
class RateSeries:
    """Heart rate over time; all arrays `(W,)`, one value for each window.

    Attributes:
        start_s: start of the window, seconds from the signal's first sample.
        end_s: its end.
        hr_bpm: heart rate, NaN where it is undefined.
        quality: quality index in 0..1.
    """

    start_s: Array
    end_s: Array
    hr_bpm: Array
    quality: Array


def rate_series(
    bvp: Array,
    fps: float,
    *,
    valid: NDArray[np.bool_] | None = None,
    length_s: float = 10.0,
    stride_s: float = 1.0,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    min_valid: float = 0.5,
    rate: Callable[[Array, float, float, float], Array] = heart_rate_bpm,
) -> RateSeries:
    """Heart rate of a filtered BVP `(T,)` in sliding windows.

    A window with a share of valid samples (`valid` `(T,)`, the face was in view) under `min_valid`
    has no heart rate, and quality 0. `rate` takes windows, rate in Hz and the band in Hz.
    """
    start_s, windows = sliding_windows(bvp, fps, length_s=length_s, stride_s=stride_s)
    # A fine spectrum is some hundred times larger than what is kept of it.
    parts = [windows[i : i + WINDOWS_AT_ONCE] for i in range(0, len(windows), WINDOWS_AT_ONCE)]
    nothing = [np.zeros(0)]
    rates = np.concatenate(nothing + [rate(part, fps, low_hz, high_hz) for part in parts])
    index = np.concatenate(nothing + [quality(part, fps, low_hz, high_hz) for part in parts])
    if valid is not None:
        enough = valid_share(valid, fps, length_s=length_s, stride_s=stride_s) >= min_valid
        rates = np.where(enough, rates, np.nan)
        index = np.where(enough, index, 0.0)
    return RateSeries(start_s, start_s + windows.shape[-1] / fps, rates, index)
