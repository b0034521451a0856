"""Beats of a BVP: its systolic peaks between samples, chosen along the local heart rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from rppg.signals.rates import RateSeries

Array = NDArray[np.float64]

TIGHTNESS = 2.0
"""What an interval twice or half the local one costs, in deviations of the wave: `2 (ln 2)²` ≈ 1.
An upright beat is worth about 1.4 deviations, a dicrotic wave less than 1."""
EDGE = 0.5
"""Periods at each end of a stretch in which filters bend the wave: their beats are left out."""
SHORTEST, LONGEST = 0.4, 2.5
"""Intervals considered, in local periods."""


@dataclass(frozen=True)
class Beats:
    """Systolic peaks.

    Attributes:
        times_s: `(N,)` seconds from the signal's first sample, increasing.
        span: `(N,)` number of the unbroken stretch of signal that a beat lies in. Between beats of
            different spans the signal is missing or not to be trusted: they have no interval.
        seconds: total length of the spans.
    """

    times_s: Array
    span: NDArray[np.intp]
    seconds: float


def local_rate_hz(course: RateSeries, fps: float, total: int, least_quality: float) -> Array:
    """Heart rate in Hz at each of `total` samples `(T,)`, from the windows of a course.

    The rates of the windows of at least `least_quality` are joined by straight lines between their
    middles. NaN at samples that lie in no such window.
    """
    trusted = np.isfinite(course.hr_bpm) & (course.quality >= least_quality)
    rate = np.full(total, np.nan)
    if not np.any(trusted):
        return rate
    start_s, end_s = course.start_s[trusted], course.end_s[trusted]
    covered = np.zeros(total, dtype=np.bool_)
    for start, end in zip(start_s, end_s, strict=True):
        covered[round(start * fps) : round(end * fps)] = True
    at = np.arange(total)[covered] / fps
    rate[covered] = np.interp(at, (start_s + end_s) / 2, course.hr_bpm[trusted] / 60)
    return rate


def find_beats(bvp: Array, fps: float, rate_hz: Array) -> Beats:
    """The systolic peaks of a filtered BVP `(T,)`, up at systole.

    Candidates are the maxima of the cubic spline through the samples, so that their times are finer
    than the frame rate. Among them dynamic programming takes the sequence t_i that maximises

        Σ h(t_i) / s  −  2 Σ ln²((t_i − t_{i−1}) f)

    with h the height, s the signal's deviation, f the local heart rate: a tall peak counts as a
    beat, a dicrotic wave between two of them does not, and an early or late beat is kept where it
    is. Where `rate_hz` `(T,)` is NaN, no beat is claimed, and none is joined across; nor are those
    within half a period of such a place or of the signal's ends.

    Reference:
        Ellis, "Beat tracking by dynamic programming", Journal of New Music Research 36(1), 2007,
        eq. 5.
    """
    known = np.isfinite(rate_hz) & np.isfinite(bvp)
    edges = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0))
    times: list[Array] = []
    span: list[NDArray[np.intp]] = []
    for number, (start, end) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        if end - start < 4:
            continue
        found = _beats_of(bvp[start:end], fps, rate_hz[start:end]) + start / fps
        settled = (found >= start / fps + EDGE / rate_hz[start]) & (
            found <= (end - 1) / fps - EDGE / rate_hz[end - 1]
        )
        found = found[settled]
        times.append(found)
        span.append(np.full(len(found), number, dtype=np.intp))
    if not times:
        return Beats(np.zeros(0), np.zeros(0, dtype=np.intp), 0.0)
    return Beats(np.concatenate(times), np.concatenate(span), float(np.sum(known)) / fps)


def _beats_of(bvp: Array, fps: float, rate_hz: Array) -> Array:
    """Times in seconds of the beats of one unbroken stretch."""
    at, height = _maxima(bvp - np.mean(bvp))
    deviation = float(np.std(bvp))
    worth = height > 0
    at, value = at[worth], height[worth] / deviation if deviation > 0 else height[worth]
    rate = rate_hz[np.minimum(np.round(at).astype(np.intp), len(rate_hz) - 1)] / fps
    score, before = value.copy(), np.full(len(at), -1)
    for i in range(1, len(at)):
        first = np.searchsorted(at, at[i] - LONGEST / rate[i])
        last = np.searchsorted(at, at[i] - SHORTEST / rate[i], side="right")
        if last <= first:
            continue
        cost = TIGHTNESS * np.log((at[i] - at[first:last]) * rate[i]) ** 2
        joined = score[first:last] - cost
        best = int(np.argmax(joined))
        if joined[best] > 0:
            score[i] += joined[best]
            before[i] = first + best
    beats = []
    i = int(np.argmax(score)) if len(score) else -1
    while i >= 0:
        beats.append(at[i])
        i = int(before[i])
    return np.array(beats[::-1]) / fps


def _maxima(x: Array) -> tuple[Array, Array]:
    """Places, in samples, and heights of the maxima of the cubic spline through `x` `(T,)`."""
    spline = CubicSpline(np.arange(len(x)), x)
    # Between two samples the derivative is a parabola c₁ + 2 c₂ u + 3 c₃ u²; of its two roots the
    # one where it falls is a maximum, written so that c₃ → 0 needs no case of its own.
    c3, c2, c1, _ = spline.c
    inside = c2**2 - 3 * c3 * c1
    root = np.sqrt(np.where(inside > 0, inside, 0.0))
    down = root - c2
    offset = np.where(down > 0, c1 / np.where(down > 0, down, 1.0), np.nan)
    there = (inside > 0) & (offset >= 0) & (offset < 1)
    at = np.asarray(np.flatnonzero(there) + offset[there], dtype=np.float64)
    return at, np.asarray(spline(at), dtype=np.float64)
