"""Continuity: the heart rates of all windows that are the most likely together.

The highest peak of a single window's spectrum may be motion or light. A heart rate changes slowly,
so its neighbours correct it: the Viterbi algorithm finds the path through the windows' spectra
with the highest sum of a score for each window and a penalty for each change.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.heart_rate import peak_frequency_hz
from rppg.signals.rates import RateSeries, rate_series
from rppg.signals.spectrum import power_spectrum
from rppg.signals.windows import batches_of_windows, sliding_windows, valid_share

Array = NDArray[np.float64]

STEP_BPM = 1.0
"""Spacing of the grid of rates that a path is made of."""
STRIDE_S = 1.0
"""Longest time between the windows of a path."""
GAIN = 1.0
"""Weight per second of a window's log share of power. Windows overlap, so it isn't a likelihood."""
FLOOR = 1e-4
"""Share of the power below which a rate is no less likely: a lost pulse may be anywhere."""
SCALE_BPM_PER_S, FREEDOM = 2.0, 3.0
"""Scale and degrees of freedom of Student's t, the density of the change of rate. Its tails let a
path follow exercise, or return to the pulse after a stretch of noise."""
REFINE_BPM = 6.0
"""A window's own peak this near to the path is its heart rate: half the width of a peak of 10 s."""


def path_grid_bpm(low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ) -> Array:
    """Return the rates `(F,)` in bpm that a path is made of."""
    return np.arange(np.ceil(low_hz * 60), high_hz * 60 + 1e-9, STEP_BPM)


def continuous_rate_series(
    bvp: Array,
    fps: float,
    *,
    valid: NDArray[np.bool_] | None = None,
    length_s: float = 10.0,
    stride_s: float = 1.0,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    min_valid: float = 0.5,
    evidence: Array | None = None,
    rates: RateSeries | None = None,
) -> RateSeries:
    """Compute the heart rate of a filtered BVP `(T,)` along the most likely path.

    The windows and their quality are those of `rate_series`, and the same windows have no heart
    rate. In between, the path goes through windows at most `STRIDE_S` apart. Windows with too few
    valid samples don't break it.

    Args:
        bvp: `(T,)`.
        fps: sampling rate in Hz.
        valid: `(T,)`, False where the face was not in view; None if it always was.
        length_s: length of a window in seconds.
        stride_s: time between the starts of two windows in seconds.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
        min_valid: minimum share of valid samples.
        evidence: `(V, F)` in 0..1, by which the power is multiplied: one row for each window of the
            path (`path_windows`), one column for each rate of `path_grid_bpm`.
        rates: those of `rate_series` with the same arguments; computed if None.

    Raises:
        InputError: evidence of another shape.
    """
    if rates is None:
        rates = rate_series(
            bvp,
            fps,
            valid=valid,
            length_s=length_s,
            stride_s=stride_s,
            low_hz=low_hz,
            high_hz=high_hz,
            min_valid=min_valid,
        )
    each, inner_s = path_windows(stride_s)
    if inner_s * fps < 1:  # windows under a sample apart are the same windows
        each, inner_s = 1, stride_s
    _, inner = sliding_windows(bvp, fps, length_s=length_s, stride_s=inner_s)
    if len(inner) == 0:
        return rates
    score = path_scores(inner, fps, low_hz=low_hz, high_hz=high_hz, evidence=evidence)
    if valid is not None:
        share = valid_share(valid, fps, length_s=length_s, stride_s=inner_s)
        score = np.where((share >= min_valid)[:, None], score, 0.0)
    path = path_grid_bpm(low_hz, high_hz)[most_likely_path(score, inner_s)]
    path, inner = path[::each][: len(rates.hr_bpm)], inner[::each][: len(rates.hr_bpm)]
    refined = _refine(path, inner, fps, low_hz, high_hz)
    return replace(rates, hr_bpm=np.where(np.isfinite(rates.hr_bpm), refined, np.nan))


def path_windows(stride_s: float) -> tuple[int, float]:
    """Return how many of a path's windows there are to each of stride `stride_s`, and their stride.

    Example:
        >>> path_windows(10.0)
        (10, 1.0)
    """
    each = int(np.ceil(stride_s / STRIDE_S - 1e-9))
    return each, stride_s / each


def path_scores(
    windows: Array,
    fps: float,
    *,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    evidence: Array | None = None,
) -> Array:
    """Compute the score per second `(W, F)` of each rate of `path_grid_bpm` in windows `(W, L)`.

    It is the log share of the band's power at the rate and at its double. The double counts no more
    than the rate itself: a rate without power of its own, such as half the true one, gains nothing.
    A window with samples that aren't finite, or without power, scores 0 everywhere.

    Raises:
        InputError: evidence of another shape than `(W, F)`.
    """
    grid_bpm = path_grid_bpm(low_hz, high_hz)
    if evidence is not None and evidence.shape != (len(windows), len(grid_bpm)):
        raise InputError(
            f"evidence {evidence.shape} for {len(windows)} windows and {len(grid_bpm)} rates; give "
            f"{(len(windows), len(grid_bpm))}, see path_windows and path_grid_bpm"
        )
    power = np.zeros((len(windows), len(grid_bpm)))
    for batch in batches_of_windows(len(windows)):
        frequencies, fine = power_spectrum(windows[batch], fps)
        power[batch] = fine[..., _nearest(frequencies, grid_bpm)]
    if evidence is not None:
        power = power * evidence
    double = np.searchsorted(grid_bpm, 2 * grid_bpm)
    inside = double < len(grid_bpm)
    harmonic = np.where(inside, power[:, np.where(inside, double, 0)], 0.0)
    total = np.sum(power, axis=-1, keepdims=True)
    usable = np.isfinite(total) & (total > 0)
    share = (power + np.minimum(power, harmonic)) / np.where(usable, total, 1.0)
    share = np.where(usable, share * STEP_BPM, 1.0)
    return np.asarray(GAIN * np.log(np.maximum(share, FLOOR)))


def most_likely_path(score: Array, stride_s: float) -> NDArray[np.intp]:
    """Find the path `(W,)`, as columns of `score`, of the highest total score less penalties.

    The Viterbi algorithm. A change of rate per second, v, is penalised by the negative logarithm of
    Student's t: `(n + 1) / 2 · log(1 + (v / scale)² / n)` per second.

    Args:
        score: `(W, F)` per second; at least one row.
        stride_s: time between two rows in seconds.
    """
    count, rates = score.shape
    change = STEP_BPM * np.subtract.outer(np.arange(rates), np.arange(rates)) / stride_s
    penalty = stride_s * (FREEDOM + 1) / 2 * np.log1p((change / SCALE_BPM_PER_S) ** 2 / FREEDOM)
    before = np.zeros((count, rates), dtype=np.intp)
    best = stride_s * score[0]
    for k in range(1, count):
        total = best - penalty  # (to, from)
        before[k] = np.argmax(total, axis=1)
        best = np.take_along_axis(total, before[k][:, None], axis=1)[:, 0] + stride_s * score[k]
    path = np.empty(count, dtype=np.intp)
    path[-1] = np.argmax(best)
    for k in range(count - 1, 0, -1):
        path[k - 1] = before[k][path[k]]
    return path


def _refine(path_bpm: Array, windows: Array, fps: float, low_hz: float, high_hz: float) -> Array:
    """Return each window's highest peak `(W,)` in bpm near the path; without one, the path."""
    peaks = [np.zeros(0)]
    for batch in batches_of_windows(len(windows)):
        frequencies, power = power_spectrum(windows[batch], fps)
        path_hz = path_bpm[batch] / 60
        low = np.maximum(path_hz - REFINE_BPM / 60, low_hz)
        high = np.minimum(path_hz + REFINE_BPM / 60, high_hz)
        peaks.append(60 * peak_frequency_hz(frequencies, power, low, high))
    peak_bpm = np.concatenate(peaks)
    return np.where(np.isfinite(peak_bpm), peak_bpm, path_bpm)


def _nearest(frequencies: Array, grid_bpm: Array) -> NDArray[np.intp]:
    """Return the index of the frequency nearest to each rate."""
    spacing_hz = frequencies[1] - frequencies[0]
    return np.minimum(np.round(grid_bpm / 60 / spacing_hz).astype(np.intp), len(frequencies) - 1)
