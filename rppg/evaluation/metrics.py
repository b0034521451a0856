"""Error metrics, each with its closed-form standard error and a bootstrap interval over subjects.

Pairs with a NaN on either side are left out. An undefined value (of one sample, or a constant
signal) is NaN, which means missing; it is never 0 and is left out of means.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.evaluation.resampling import draw_counts, percentile_interval
from rppg.signals.quality import pulse_power_share
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]
Weighted = Callable[[Array], Array]
"""A statistic as a function of weights `(..., n)` on the samples: `(..., n)` → `(...)`."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Statistic:
    """A metric with its uncertainty; an undefined number is NaN.

    Attributes:
        value: the metric.
        se: closed-form standard error, which assumes independent samples.
        low: lower end of the 95 % bootstrap interval over subjects.
        high: upper end of the interval.
    """

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True)
class BlandAltman:
    """Agreement of single measurements, in bpm: bias, and bias ± 1.96 standard deviations.

    References:
        Bland, Altman, "Statistical methods for assessing agreement between two methods of clinical
        measurement", Lancet 327, 1986; and, with several measurements of each subject, "Agreement
        between methods of measurement with multiple observations per individual", Journal of
        Biopharmaceutical Statistics 17, 2007, section 3.
    """

    bias_bpm: float
    low_bpm: float
    high_bpm: float


def mae(
    true: ArrayLike,
    predicted: ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Statistic:
    """Compute the mean absolute error `mean|e|`; standard error `s / √n`.

    Args:
        true: `(n,)`.
        predicted: `(n,)`.
        subjects: `(n,)`, the subject of each sample; None if each sample is another subject.
        seed: seed of the bootstrap.
        resamples: its size; 0: no interval is computed, which is faster.
    """
    return mean(np.abs(_array(predicted) - _array(true)), subjects, seed=seed, resamples=resamples)


def mape(
    true: ArrayLike,
    predicted: ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Statistic:
    """Compute the mean absolute percentage error `100 mean|e / true|`; standard error `s / √n`."""
    t = _array(true)
    relative = np.abs(_array(predicted) - t) / np.where(t != 0, np.abs(t), np.nan)
    return mean(100 * relative, subjects, seed=seed, resamples=resamples)


def rmse(
    true: ArrayLike,
    predicted: ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Statistic:
    """Compute the root mean squared error; standard error `std(e²) / (2 · RMSE · √n)`.

    The standard error is by the delta method.
    """
    error = _array(predicted) - _array(true)
    keep = np.isfinite(error)
    squared, n = error[keep] ** 2, int(np.sum(keep))
    value = float(np.sqrt(np.mean(squared))) if n else np.nan
    se = np.std(squared, ddof=1) / (2 * value * np.sqrt(n)) if n > 1 and value > 0 else np.nan
    indices = _subject_indices(subjects, keep)
    low, high = _interval(lambda w: np.sqrt(_mean(w, squared)), indices, seed, resamples)
    return Statistic(value, float(se), low, high)


def pearson(
    true: ArrayLike,
    predicted: ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Statistic:
    """Compute Pearson's r; standard error `√((1 − r²) / (n − 2))`.

    Undefined for less than three samples, or if either side is constant.
    """
    t, p = _array(true), _array(predicted)
    keep = np.isfinite(t) & np.isfinite(p)
    t, p, n = t[keep], p[keep], int(np.sum(keep))
    value = float(_correlation(np.ones(n), t, p)) if n > 2 else np.nan
    se = float(np.sqrt(max(0.0, 1 - value**2) / (n - 2))) if np.isfinite(value) else np.nan
    low, high = np.nan, np.nan
    if np.isfinite(value):
        indices = _subject_indices(subjects, keep)
        low, high = _interval(lambda w: _correlation(w, t, p), indices, seed, resamples)
    return Statistic(value, se, low, high)


def mean(
    values: ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Statistic:
    """Compute the mean of the finite values `(n,)`; standard error `s / √n`, if n > 1."""
    x = _array(values)
    keep = np.isfinite(x)
    x, n = x[keep], int(np.sum(keep))
    value = float(np.mean(x)) if n else np.nan
    se = float(np.std(x, ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    indices = _subject_indices(subjects, keep)
    low, high = _interval(lambda w: _mean(w, x), indices, seed, resamples)
    return Statistic(value, se, low, high)


def bland_altman(
    true: ArrayLike, predicted: ArrayLike, subjects: Sequence[str] | None = None
) -> BlandAltman:
    """Compute bias and limits of agreement of `predicted − true`, both `(n,)` in bpm.

    Args:
        true: `(n,)`.
        predicted: `(n,)`.
        subjects: `(n,)`, the subject of each sample, for limits that are corrected for repeated
            measurements: their variance is that between subjects plus that within, by one-way
            analysis of variance, so that a subject's many samples don't count as so many people's.
            Undefined for a single subject. None if each sample is another subject.
    """
    error = _array(predicted) - _array(true)
    keep = np.isfinite(error)
    subject, error = _subject_indices(subjects, keep), error[keep]
    bias = float(np.mean(error)) if len(error) else np.nan
    spread = 1.96 * float(np.sqrt(_variance(error, subject)))
    return BlandAltman(bias, bias - spread, bias + spread)


def snr_db(bvp: ArrayLike, fps: float, hr_true_bpm: ArrayLike) -> Array:
    """Compute the signal-to-noise ratio `(...)` in dB of a BVP `(..., T)`.

    It is the power within ±6 bpm of the true heart rate f and of 2f over the rest of 0.6–3.3 Hz.
    NaN if the heart rate is NaN, or either part has no power.

    Reference:
        de Haan, Jeanne, "Robust pulse rate from chrominance-based rPPG", IEEE Trans. Biomed.
        Eng. 60(10), 2013, eq. 20; with this protocol's band and width.
    """
    frequencies, power = power_spectrum(bvp, fps)
    share = pulse_power_share(frequencies, power, np.asarray(hr_true_bpm, dtype=np.float64) / 60)
    defined = (share > 0) & (share < 1)
    ratio = np.where(defined, share, 0.5) / (1 - np.where(defined, share, 0.5))
    return np.where(defined, 10 * np.log10(ratio), np.nan)


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _subject_indices(subjects: Sequence[str] | None, keep: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the index of the subject of each kept sample."""
    if subjects is None:
        return np.arange(int(np.sum(keep)))
    _, code = np.unique(np.asarray(subjects, dtype=np.str_)[keep], return_inverse=True)
    return np.asarray(code, dtype=np.intp)


def _variance(x: Array, subject: NDArray[np.intp]) -> float:
    """Return the variance of one sample of another subject; NaN for less than two subjects."""
    counts = np.bincount(subject)
    n, groups = len(x), len(counts)
    if groups < 2:
        return np.nan
    means = np.bincount(subject, weights=x) / counts
    between = float(np.sum(counts * (means - np.mean(x)) ** 2)) / (groups - 1)
    if n == groups:
        return between
    within = float(np.sum((x - means[subject]) ** 2)) / (n - groups)
    size = (n - float(np.sum(counts**2)) / n) / (groups - 1)
    return max(0.0, (between - within) / size) + within


def _interval(
    statistic: Weighted, subject: NDArray[np.intp], seed: int, resamples: int
) -> tuple[float, float]:
    """Compute the 95 % percentile interval under resampling of whole subjects with replacement."""
    count = len(np.unique(subject))
    if count < 2 or resamples == 0:
        return np.nan, np.nan
    draws = draw_counts(np.random.default_rng(seed), [""] * count, resamples)
    return percentile_interval(statistic(draws[:, subject]), defined=0.5)


def _mean(w: Array, x: Array) -> Array:
    return np.asarray((w @ x) / np.sum(w, axis=-1))


def _correlation(w: Array, x: Array, y: Array) -> Array:
    """Compute the weighted Pearson correlation `(...)`; NaN if a side varies only by rounding."""
    total = np.sum(w, axis=-1)[..., None]
    dx, dy = x - (w @ x)[..., None] / total, y - (w @ y)[..., None] / total
    xx, yy, xy = (np.sum(w * a * b, axis=-1) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    rounding = [1e-18 * total[..., 0] * np.max(a**2, initial=0.0) for a in (x, y)]
    defined = (xx > rounding[0]) & (yy > rounding[1])
    r = np.where(defined, xy, np.nan) / np.sqrt(np.where(defined, xx * yy, 1.0))
    return np.asarray(np.clip(r, -1.0, 1.0))
