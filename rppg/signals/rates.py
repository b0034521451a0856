"""Heart rate over time: an estimate and its quality index for each sliding window."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.heart_rate import heart_rate_bpm
from rppg.signals.pulse_evidence import PulseEvidence
from rppg.signals.quality import quality_evidence, quality_of_features
from rppg.signals.windows import batches_of_windows, sliding_windows, windows_at

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
        features: `(W, 4)` of the wave, which the quality rests on (`quality_evidence`); None if
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

    A window whose share of valid samples is under `min_valid` has no heart rate, and quality 0. The
    quality rests on the windows half a window earlier and later, too, whatever the stride.

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
    length = windows.shape[-1]
    starts = np.round(start_s * fps).astype(np.intp)
    around = starts[:, None] + np.array([-(length // 2), length // 2])
    inside = (around >= 0) & (around + length <= len(bvp))
    every, index = np.unique(np.concatenate([starts, around[inside]]), return_inverse=True)

    def rates_of(batch: slice) -> Array:
        found = rate(windows_at(bvp, every[batch], length), fps, low_hz, high_hz)
        if valid is None:
            return found
        share = np.mean(windows_at(valid, every[batch], length), axis=-1)
        return np.where(share >= min_valid, found, np.nan)

    found = _in_batches(rates_of, len(every), np.zeros(0))[index]
    rates = found[: len(starts)]
    neighbours = np.full(around.shape, np.nan)
    neighbours[inside] = found[len(starts) :]

    def features_of(batch: slice) -> Array:
        return quality_evidence(windows[batch], fps, low_hz, high_hz, neighbours[batch])

    features = _in_batches(features_of, len(windows), np.zeros((0, 4)))
    quality = np.where(np.isfinite(rates), quality_of_features(features), 0.0)
    return RateSeries(start_s, start_s + length / fps, rates, quality, features=features)


def row_of(rates: RateSeries, index: int) -> RateSeries:
    """Return one of the windows of a series, as a series."""
    part = slice(index, index + 1 or None)
    evidence = rates.evidence
    if evidence is not None:
        rows = {field.name: getattr(evidence, field.name)[part] for field in fields(evidence)}
        evidence = replace(evidence, **rows)
    return RateSeries(
        rates.start_s[part],
        rates.end_s[part],
        rates.hr_bpm[part],
        rates.quality[part],
        evidence,
        None if rates.features is None else rates.features[part],
    )


def limit_by_windows(whole: RateSeries, windows: RateSeries) -> RateSeries:
    """Return the rate of a whole signal, of no higher quality than the best of its windows."""
    if len(windows.quality) == 0:
        return whole
    return replace(whole, quality=np.minimum(whole.quality, np.max(windows.quality)))


def _in_batches(compute: Callable[[slice], Array], count: int, empty: Array) -> Array:
    """Compute `count` windows in batches; `empty` is the result for none."""
    return np.concatenate([empty, *map(compute, batches_of_windows(count))])
