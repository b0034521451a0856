"""Heart rate variability of a noisy wave: beats of the refined wave, less the noise's share.

Noise n near the heart rate f shifts a beat of amplitude A by n_q / (2πf A), and changes its height
by n_p. The two quadratures n_q, n_p are equally strong, whatever the filter and whatever the
noise's spectrum. So the same differences that RMSSD and SDNN take of the times, taken of the
heights, are the noise's share of them. A pulse that changes its own amplitude, as with the breath,
counts as noise, too: values are then too low, or None.

The filter decides between noise and truth: a narrow one removes noise, and the fast part of the
variability with it. So several widths are tried, and each value is that of the width with the
smallest uncertainty.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rppg.signals.beats import Beats, find_beats
from rppg.signals.refine import modulation_gain, refine
from rppg.signals.spline import evaluate_spline, spline_coefficients
from rppg.signals.variability import Intervals, Variability, find_intervals

Array = NDArray[np.float64]

WIDTHS = (0.2, 0.3, 0.4, 0.5, 0.7)
"""Widths of the filter, as shares of the heart rate. Modulations of beats end at half the rate."""
BEATS_WIDTH = 0.5
"""Width for the beats that are reported."""
NOISE_WIDTH = 0.3
MOST_NOISE = 0.15
"""Maximum noise at `NOISE_WIDTH`, relative to the pulse's amplitude. Where it is stronger, it is no
longer small, steady and equal in both quadratures: it comes from motion and from compression."""
WEIGHT_POWER = 4
"""Beats count by this power of their amplitude: the inverse variance of their squared shift."""
HIDDEN = 0.25
"""Share, of what the filter hides if all variability is from one beat to the next, that is added to
a value and is its uncertainty: from a variability that is slow to one that is half as fast."""
GRID = 200
"""Number of frequencies of the integrals."""


@dataclass(frozen=True)
class _Filtered:
    """Beats of the wave, refined with one width.

    Attributes:
        intervals: between the beats.
        heights: `(N,)` amplitude of each beat.
        rate_hz: the median heart rate.
        gain: `(F,)` of modulations between 0 and half the rate.
        noise: `(F,)` power of the noise there, relative to that of white noise before the filter.
        step: `(F,)` squared gain of a difference from beat to beat.
    """

    intervals: Intervals
    heights: Array
    rate_hz: float
    gain: Array
    noise: Array
    step: Array

    def independent(self, count: float, order: int) -> float:
        """Return how many of `count` differences of the noise are independent."""
        power = self.noise * self.step**order
        return count * float(np.mean(power) ** 2 / np.mean(power**2))


@dataclass(frozen=True)
class _Value:
    """RMSSD or SDNN in seconds, with its uncertainty."""

    seconds: float
    uncertainty: float


def variability_of_wave(bvp: Array, fps: float, rate_hz: Array) -> tuple[Beats, Variability | str]:
    """Compute the beats of a wave and their variability, or the reason why it is undefined.

    The beats are those of `find_beats` on the refined wave. From the mean square of the differences
    of their intervals (RMSSD) or of their deviations (SDNN), that of the noise is subtracted. A
    value is None where its uncertainty is larger, or the noise is above `MOST_NOISE`.

    The uncertainty has two parts: one standard deviation of the difference of the two mean squares,
    which falls with the number of beats, and what the filter hides (`HIDDEN`), for which the value
    is also raised.

    Args:
        bvp: `(T,)`, filtered to the pulse's band, up at systole.
        fps: sampling rate in Hz.
        rate_hz: `(T,)` heart rate around each sample; NaN where no beat is reported.

    Returns:
        The beats of the wave refined by `BEATS_WIDTH`, and their variability or its lack's reason.
    """
    known = np.isfinite(rate_hz)
    if not known.any():
        beats = find_beats(bvp, fps, rate_hz)
        return beats, _reason(beats)
    # Refined on both sides of a hole: where the rate is unknown, `refine` leaves the noise.
    index = np.arange(len(bvp))
    everywhere_hz = np.interp(index, index[known], rate_hz[known])
    middle_hz = float(np.median(rate_hz[known]))
    found: dict[float, _Filtered] = {}
    reported = Beats(np.zeros(0), np.zeros(0, dtype=np.intp), 0.0)
    for width in WIDTHS:
        wave = refine(bvp, everywhere_hz, fps, width * middle_hz)
        beats = find_beats(wave, fps, rate_hz)
        intervals = find_intervals(beats)
        if width == BEATS_WIDTH:
            reported = beats
        if not isinstance(intervals, str):
            found[width] = _filtered(wave, fps, beats, intervals, width * middle_hz)
    if BEATS_WIDTH not in found:
        return reported, _reason(reported)
    noise = _noise(found[NOISE_WIDTH]) if NOISE_WIDTH in found else float("inf")
    rmssd, sdnn = _best(found, 2), _best(found, 1)
    return reported, _summary(reported, found[BEATS_WIDTH].intervals, noise, rmssd, sdnn)


def _reason(beats: Beats) -> str:
    reason = find_intervals(beats)
    assert isinstance(reason, str)
    return reason


def _filtered(
    wave: Array, fps: float, beats: Beats, intervals: Intervals, width_hz: float
) -> _Filtered:
    times_s = np.arange(len(wave)) / fps
    rate_hz = 1 / float(np.median(intervals.seconds[intervals.normal]))
    hz = np.linspace(0, rate_hz / 2, GRID)
    gain = modulation_gain(hz, width_hz, fps)
    # Beats sample the noise once a period: what lies beyond half the rate is folded back.
    folded = modulation_gain(rate_hz - hz, width_hz, fps)
    return _Filtered(
        intervals=intervals,
        heights=evaluate_spline(times_s, spline_coefficients(times_s, wave), beats.times_s),
        rate_hz=rate_hz,
        gain=gain,
        noise=gain**2 + folded**2,
        step=(2 * np.sin(np.pi * hz / rate_hz)) ** 2,
    )


def _noise(found: _Filtered) -> float:
    """Return the standard deviation of the noise within the filter, relative to the amplitude."""
    steps = np.diff(found.heights, 2)[found.intervals.successive]
    if not len(steps):
        return float("inf")
    within = np.mean(found.noise) / np.mean(found.noise * found.step**2)
    return float(np.sqrt(np.mean(steps**2) * within) / np.median(found.heights))


def _best(found: dict[float, _Filtered], order: int) -> _Value:
    """Return the value of the width with the smallest uncertainty: RMSSD of order 2, SDNN of 1."""
    return min((_value(of_width, order) for of_width in found.values()), key=_uncertainty)


def _uncertainty(value: _Value) -> float:
    return value.uncertainty


def _value(found: _Filtered, order: int) -> _Value:
    """Return RMSSD (order 2) or SDNN (order 1), less the noise, with its uncertainty."""
    square, noise, count = _mean_squares(found, order)
    rest = max(square - noise, 0.0)
    independent = found.independent(count, order)
    spread = float(np.sqrt((4 * rest * noise + 4 * noise**2) / independent))
    value = float(np.sqrt(rest))
    from_noise = value - np.sqrt(rest - spread) if rest > spread else np.sqrt(max(rest, spread))
    left = np.mean(found.gain**2 * found.step**order) / np.mean(found.step**order)
    hidden = HIDDEN * value * (1 / np.sqrt(min(float(left), 1.0)) - 1)
    return _Value(float(value + hidden), float(np.hypot(from_noise, hidden)))


def _mean_squares(found: _Filtered, order: int) -> tuple[float, float, float]:
    """Return weighted mean squares in s², of the times and of the noise, and the number behind.

    Of order 2 they are of the differences of successive intervals; of order 1, of the intervals'
    deviations from their mean.
    """
    heights, intervals = np.maximum(found.heights, 1e-12), found.intervals
    around = sliding_window_view(heights, order + 1)
    shifts = np.diff(heights, order) / around.mean(1) / (2 * np.pi * found.rate_hz)
    used = intervals.normal if order == 1 else intervals.successive
    values = np.diff(intervals.seconds, order - 1)[used]
    lowest = around.min(1)[used]
    weight = (lowest / np.max(lowest)) ** WEIGHT_POWER
    weight /= np.sum(weight)
    noise = float(np.sum(weight * shifts[used] ** 2))
    count = 1 / float(np.sum(weight**2))
    if order == 1:
        values = values - np.sum(weight * values)
        values *= np.sqrt(len(values) / (len(values) - 1))
    return float(np.sum(weight * values**2)), noise, count


def _summary(
    beats: Beats, intervals: Intervals, noise: float, rmssd: _Value, sdnn: _Value
) -> Variability:
    accepted = intervals.seconds[intervals.normal]
    too_noisy = not noise <= MOST_NOISE

    def known_ms(value: _Value) -> float | None:
        hidden = too_noisy or value.uncertainty >= value.seconds
        return None if hidden else 1000 * value.seconds

    def uncertainty_ms(value: _Value) -> float | None:
        return None if too_noisy else 1000 * value.uncertainty

    return Variability(
        rmssd_ms=known_ms(rmssd),
        sdnn_ms=known_ms(sdnn),
        mean_ibi_ms=float(1000 * np.mean(accepted)),
        beats=len(beats.times_s),
        intervals=len(accepted),
        artefacts=intervals.total - len(accepted),
        seconds=beats.seconds,
        rmssd_uncertainty_ms=uncertainty_ms(rmssd),
        sdnn_uncertainty_ms=uncertainty_ms(sdnn),
        noise=noise if np.isfinite(noise) else None,
    )
