"""Heart rate over time: an estimate and its quality index for each sliding window."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.heart_rate import heart_rate_bpm
from rppg.signals.pulse_evidence import PulseEvidence
from rppg.signals.quality import quality_evidence, quality_of_features
from rppg.signals.windows import batches_of_windows, sliding_windows, valid_share

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RateSeries:
    """Heart rate over time; all arrays are `(W,)`, one value for each window.

    Attributes:
        start_s: start of the window, seconds from the signal's first sample.
        end_s: end of the window.
        hr_bpm: heart rate, NaN where it is undefined.
        quality: quality index in 0..1.
        evidence: from the video, which the quality then rests on, too; None if there is none.
        features: `(W, 3)` of the wave, which the quality rests on (`quality_evidence`); None if
            they weren't kept.
    """

    start_s: Array
    end_s: Array
    hr_bpm: Array
    quality: Array
    evidence: PulseEvidence | None = None
    features: Array | None = None


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
    """Compute the heart rate of a filtered BVP `(T,)` in sliding windows.

    A window whose share of valid samples is under `min_valid` has no heart rate, and quality 0.

    Args:
        bvp: `(T,)`.
        fps: sampling rate in Hz.
        valid: `(T,)`, False where the face was not in view; None if it always was.
        length_s: length of a window in seconds.
        stride_s: time between the starts of two windows in seconds.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
        min_valid: minimum share of valid samples.
        rate: function of windows, sampling rate and the band's ends: heart rates in bpm.
    """
    start_s, windows = sliding_windows(bvp, fps, length_s=length_s, stride_s=stride_s)
    parts = [windows[batch] for batch in batches_of_windows(len(windows))]
    empty = [np.zeros(0)]  # for a signal shorter than a window
    rates = np.concatenate(empty + [rate(part, fps, low_hz, high_hz) for part in parts])
    features = np.concatenate(
        [np.zeros((0, 3)), *(quality_evidence(part, fps, low_hz, high_hz) for part in parts)]
    )
    index = quality_of_features(features)
    if valid is not None:
        enough = valid_share(valid, fps, length_s=length_s, stride_s=stride_s) >= min_valid
        rates = np.where(enough, rates, np.nan)
        index = np.where(enough, index, 0.0)
    return RateSeries(start_s, start_s + windows.shape[-1] / fps, rates, index, features=features)
