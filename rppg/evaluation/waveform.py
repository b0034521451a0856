"""Metrics of waveforms: correlation at the best lag, beat intervals, MACC."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import find_peaks

Array = NDArray[np.float64]

MAX_LAG_S = 0.2
SHORTEST_BEAT_S = 60 / 198


def lagged_correlation(true: Array, predicted: Array, fps: float) -> float:
    """Compute the highest Pearson correlation of two BVPs `(T,)` over lags within ±0.2 s.

    The correlation is signed: that of an inverted pulse is negative. At each lag it is computed
    over the samples that overlap. NaN if a signal is constant or not finite.
    """
    max_lag = min(round(MAX_LAG_S * fps), len(true) - 3)
    scores = [_pearson(*_overlap(true, predicted, lag)) for lag in range(-max_lag, max_lag + 1)]
    defined = [score for score in scores if np.isfinite(score)]
    return max(defined, default=float("nan"))


def sine_correlation(true: Array, fps: float, hr_bpm: float) -> float:
    """Compute the correlation of the truth `(T,)` with the best sine of constant rate `hr_bpm`.

    A reference value for waveform correlations: on a short clip it can exceed 0.8.
    """
    if not (np.isfinite(hr_bpm) and np.all(np.isfinite(true))) or len(true) < 3:
        return float("nan")
    phase = 2 * np.pi * hr_bpm / 60 * np.arange(len(true)) / fps
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones(len(true))], axis=1)
    fit = basis @ np.linalg.lstsq(basis, true, rcond=None)[0]
    return _pearson(true, fit)


def macc(true: Array, predicted: Array) -> float:
    """Compute the maximum amplitude of cross-correlation of two signals `(T,)`, 0..1.

    The maximum is over all lags.

    Reference:
        Cho, Kim, Choi, "Reduction of motion artifacts from remote photoplethysmography using
        adaptive noise cancellation and modified HSI model", IEEE Access 9, 2021.
    """
    a, b = true - np.mean(true), predicted - np.mean(predicted)
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    if not (np.isfinite(norm) and norm > 0):
        return float("nan")
    size = next_fast_len(2 * len(a) - 1, real=True)
    correlation = irfft(rfft(a, size) * np.conj(rfft(b, size)), size)
    return float(np.max(np.abs(correlation)) / norm)


def beat_error_ms(true: Array, predicted: Array, fps: float) -> float:
    """Compute the mean absolute error of the beat-to-beat intervals in ms of two BVPs `(T,)`.

    A true beat is matched with the nearest predicted beat if that is less than half a beat away.
    The interval between two consecutive true beats is compared with the interval between their
    matches. NaN if there are no two such beats.
    """
    if not (np.all(np.isfinite(true)) and np.all(np.isfinite(predicted))):
        return float("nan")
    beats, predicted_beats = _beats_s(true, fps), _beats_s(predicted, fps)
    if len(beats) < 2 or len(predicted_beats) < 2:
        return float("nan")
    match = np.argmin(np.abs(beats[:, None] - predicted_beats), axis=1)
    interval = np.diff(beats)
    near = np.abs(beats - predicted_beats[match]) < np.median(interval) / 2
    both = near[:-1] & near[1:] & (match[1:] > match[:-1])
    if not np.any(both):
        return float("nan")
    error = np.abs(np.diff(predicted_beats[match]) - interval)[both]
    return float(1000 * np.mean(error))


def _overlap(a: Array, b: Array, lag: int) -> tuple[Array, Array]:
    """Return the samples of both that overlap if `b` is delayed by `lag` samples."""
    n = len(a)
    return a[max(0, lag) : n + min(0, lag)], b[max(0, -lag) : n - max(0, lag)]


def _pearson(a: Array, b: Array) -> float:
    if len(a) < 3:
        return float("nan")
    da, db = a - np.mean(a), b - np.mean(b)
    norm = float(np.sqrt(np.sum(da**2) * np.sum(db**2)))
    flat = norm <= 1e-12 * float(np.max(np.abs(a)) * np.max(np.abs(b))) * len(a)
    return float("nan") if flat or not np.isfinite(norm) else float(np.sum(da * db) / norm)


def _beats_s(bvp: Array, fps: float) -> Array:
    """Return the times of the systolic peaks in seconds, refined by parabolic interpolation."""
    height = float(np.std(bvp))
    if height <= 0:
        return np.zeros(0)
    distance = max(1.0, SHORTEST_BEAT_S * fps)
    index, _ = find_peaks(bvp, distance=distance, prominence=0.5 * height)
    left, peak, right = bvp[index - 1], bvp[index], bvp[index + 1]
    curvature = left - 2 * peak + right
    is_peak = curvature < 0
    offset = np.where(is_peak, 0.5 * (left - right) / np.where(is_peak, curvature, 1.0), 0.0)
    return np.asarray((index + offset) / fps)
