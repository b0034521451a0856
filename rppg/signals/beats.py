"""Beats of a BVP: its systolic peaks, finer than the sampling, chosen along the heart rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.signals.rates import RateSeries
from rppg.signals.spans import true_spans
from rppg.signals.spline import evaluate_spline, spline_coefficients

Array = NDArray[np.float64]

TIGHTNESS = 2.0
"""Weight of the cost of an interval, in standard deviations of the wave. An interval of twice or
half the local one costs `2 (ln 2)²` ≈ 1; a beat gains about 1.4, a dicrotic wave less than 1."""
EDGE = 0.5
"""Periods at each end of a span whose beats are left out: filters distort the wave there."""
SHORTEST, LONGEST = 0.4, 2.5
"""Intervals that are considered, in local periods."""


@dataclass(frozen=True)
class Beats:
    """Systolic peaks of a signal.

    Attributes:
        times_s: `(N,)` seconds from the signal's first sample, increasing.
        span: `(N,)` index of the span of valid signal that a beat lies in. Between two spans the
            signal is missing or unreliable, so their beats have no interval.
        seconds: total length of the spans.
    """

    times_s: Array
    span: NDArray[np.intp]
    seconds: float


def local_rate_hz(rates: RateSeries, fps: float, total: int, least_quality: float) -> Array:
    """Interpolate the heart rates of windows at each of `total` samples, `(T,)` in Hz.

    Linear interpolation between the middles of the windows whose quality is at least
    `least_quality`. NaN at samples that lie in no such window.
    """
    trusted = np.isfinite(rates.hr_bpm) & (rates.quality >= least_quality)
    rate_hz = np.full(total, np.nan)
    if not np.any(trusted):
        return rate_hz
    start_s, end_s = rates.start_s[trusted], rates.end_s[trusted]
    covered = np.zeros(total, dtype=np.bool_)
    for start, end in zip(start_s, end_s, strict=True):
        covered[round(start * fps) : round(end * fps)] = True
    times_s = np.arange(total)[covered] / fps
    rate_hz[covered] = np.interp(times_s, (start_s + end_s) / 2, rates.hr_bpm[trusted] / 60)
    return rate_hz


def find_beats(bvp: Array, fps: float, rate_hz: Array) -> Beats:
    """Find the systolic peaks of a filtered BVP `(T,)`, up at systole.

    Candidates are the maxima of the cubic spline through the samples, so that their times are finer
    than the frame rate. Dynamic programming selects the sequence t_i of them that maximises

        Σ h(t_i) / s  −  2 Σ ln²((t_i − t_{i−1}) f)

    with h the height, s the signal's standard deviation, f the local heart rate. A tall peak counts
    as a beat, a dicrotic wave between two of them does not, and early or late beats keep their
    times. No beat is reported where `rate_hz` `(T,)` is NaN, nor within half a period of such
    samples or of the signal's ends.

    Reference:
        Ellis, "Beat tracking by dynamic programming", Journal of New Music Research 36(1), 2007,
        eq. 5.
    """
    usable = np.isfinite(rate_hz) & np.isfinite(bvp)
    times: list[Array] = []
    span: list[NDArray[np.intp]] = []
    for index, (start, end) in enumerate(true_spans(usable)):
        if end - start < 4:
            continue
        beats_s = _beats_of_span(bvp[start:end], fps, rate_hz[start:end]) + start / fps
        away_from_ends = (beats_s >= start / fps + EDGE / rate_hz[start]) & (
            beats_s <= (end - 1) / fps - EDGE / rate_hz[end - 1]
        )
        beats_s = beats_s[away_from_ends]
        times.append(beats_s)
        span.append(np.full(len(beats_s), index, dtype=np.intp))
    if not times:
        return Beats(np.zeros(0), np.zeros(0, dtype=np.intp), 0.0)
    return Beats(np.concatenate(times), np.concatenate(span), float(np.sum(usable)) / fps)


def _beats_of_span(bvp: Array, fps: float, rate_hz: Array) -> Array:
    """Return the times in seconds of the beats of one span."""
    position, height = _maxima(bvp - np.mean(bvp))
    deviation = float(np.std(bvp))
    upright = height > 0
    position, height = position[upright], height[upright]
    gain = height / deviation if deviation > 0 else height
    rate = rate_hz[np.minimum(np.round(position).astype(np.intp), len(rate_hz) - 1)] / fps
    score, previous = gain.copy(), np.full(len(position), -1)
    for i in range(1, len(position)):
        first = np.searchsorted(position, position[i] - LONGEST / rate[i])
        last = np.searchsorted(position, position[i] - SHORTEST / rate[i], side="right")
        if last <= first:
            continue
        cost = TIGHTNESS * np.log((position[i] - position[first:last]) * rate[i]) ** 2
        total = score[first:last] - cost
        best = int(np.argmax(total))
        if total[best] > 0:
            score[i] += total[best]
            previous[i] = first + best
    beats = []
    i = int(np.argmax(score)) if len(score) else -1
    while i >= 0:
        beats.append(position[i])
        i = int(previous[i])
    return np.array(beats[::-1]) / fps


def _maxima(x: Array) -> tuple[Array, Array]:
    """Return the maxima of the cubic spline through `x` `(T,)`: positions in samples, heights."""
    index = np.arange(len(x), dtype=np.float64)
    spline = spline_coefficients(index, x)
    # Between two samples the derivative is a parabola c₁ + 2 c₂ u + 3 c₃ u². Its root with negative
    # slope is the maximum, in a form that also holds for c₃ → 0.
    c3, c2, c1, _ = spline
    discriminant = c2**2 - 3 * c3 * c1
    root = np.sqrt(np.where(discriminant > 0, discriminant, 0.0))
    divisor = root - c2
    offset = np.where(divisor > 0, c1 / np.where(divisor > 0, divisor, 1.0), np.nan)
    is_maximum = (discriminant > 0) & (offset >= 0) & (offset < 1)
    position = np.asarray(np.flatnonzero(is_maximum) + offset[is_maximum], dtype=np.float64)
    return position, evaluate_spline(index, spline, position)
