"""rPPG-Toolbox's evaluation, for comparison with results published with it.

Differences from the default protocol:

- detrending with λ = 100 at any rate, and a filter of low order with short padding;
- windows are cut first, then filtered one by one;
- a rectangular periodogram of the next power of two without interpolation: at 30 Hz and 10 s its
  bins are 3.5 bpm apart;
- the SNR is 20 log₁₀ of a ratio of powers, and the cross-correlation wraps around;
- standard deviations are divided by n, and the standard error of the RMSE is a fourth root.

One difference is not followed: undefined values are missing here, but 0 or the lowest bin in the
toolbox.

Reference:
    Liu et al., "rPPG-Toolbox: deep remote PPG toolbox", NeurIPS Datasets and Benchmarks, 2023;
    `evaluation/post_process.py` and `evaluation/metrics.py` of its repository.
"""

from collections.abc import Mapping

import numpy as np
import scipy  # imports its parts when they are used: most are slow to import
from numpy.typing import ArrayLike, NDArray

from rppg.signals import detrend

Array = NDArray[np.float64]


def clean(bvp: ArrayLike, fps: float, low_hz: float, high_hz: float, order: int) -> Array:
    """Detrend with λ = 100 at any rate, then apply `filtfilt`, `(..., T)` → `(..., T)`."""
    band = [low_hz, high_hz]
    numerator, denominator = scipy.signal.butter(order, band, btype="bandpass", fs=fps)
    flat = detrend(bvp, 30.0)  # λ is 100 at 30 Hz
    return np.asarray(
        scipy.signal.filtfilt(numerator, denominator, flat, axis=-1), dtype=np.float64
    )


def spectrum(bvp: ArrayLike, fps: float) -> tuple[Array, Array]:
    """Compute a rectangular periodogram padded to the next power of two: Hz `(F,)`, `(..., F)`."""
    x = np.asarray(bvp, dtype=np.float64)
    size = 1 << max(0, x.shape[-1] - 1).bit_length()
    if x.size == 0:
        return np.arange(size // 2 + 1) * fps / size, np.zeros((*x.shape[:-1], size // 2 + 1))
    frequencies, power = scipy.signal.periodogram(x, fps, nfft=size, detrend=False)
    return np.asarray(frequencies, dtype=np.float64), np.asarray(power, dtype=np.float64)


def heart_rate_bpm(bvp: ArrayLike, fps: float, low_hz: float, high_hz: float) -> Array:
    """Return the highest bin of the band, in bpm `(...)`; NaN where the band has no power."""
    frequencies, power = spectrum(bvp, fps)
    in_band = (frequencies >= low_hz) & (frequencies <= high_hz)
    band = power[..., in_band]
    if not np.any(in_band):
        return np.full(band.shape[:-1], np.nan)
    rate = frequencies[in_band][np.argmax(band, axis=-1)] * 60
    return np.where(np.max(band, axis=-1) > 0, rate, np.nan)


def peak_rate_bpm(bvp: ArrayLike, fps: float, low_hz: float, high_hz: float) -> Array:
    """Return 60 over the mean interval between all maxima of filtered windows, in bpm `(...)`.

    As its evaluation with `EVALUATION_METHOD: "peak detection"`. NaN where there are fewer than two
    maxima. The band is the filter's; it isn't applied again.
    """
    x = np.asarray(bvp, dtype=np.float64)
    rates = [_peak_rate(wave, fps) for wave in x.reshape(-1, x.shape[-1])]
    return np.array(rates, dtype=np.float64).reshape(x.shape[:-1])


def _peak_rate(wave: Array, fps: float) -> float:
    peaks, _ = scipy.signal.find_peaks(wave)
    return float(60 * fps / np.mean(np.diff(peaks))) if len(peaks) > 1 else float("nan")


def snr_db(
    bvp: ArrayLike, fps: float, hr_true_bpm: ArrayLike, low_hz: float, high_hz: float
) -> Array:
    """Compute 20 log₁₀ of the power within ±6 bpm of f and 2f over the band's rest, `(...)`."""
    frequencies, power = spectrum(bvp, fps)
    pulse_hz = np.asarray(hr_true_bpm, dtype=np.float64) / 60
    near = np.zeros(1, dtype=np.bool_)
    for harmonic in (pulse_hz[..., None], 2 * pulse_hz[..., None]):
        near = near | (frequencies >= harmonic - 0.1) & (frequencies <= harmonic + 0.1)
    rest = (frequencies >= low_hz) & (frequencies <= high_hz) & ~near
    signal = np.sum(np.where(near, power, 0.0), axis=-1)
    noise = np.sum(np.where(rest, power, 0.0), axis=-1)
    defined = (signal > 0) & (noise > 0) & np.isfinite(pulse_hz)
    ratio = np.where(defined, signal, 1.0) / np.where(defined, noise, 1.0)
    return np.where(defined, 20 * np.log10(ratio), np.nan)


def macc(true: ArrayLike, predicted: ArrayLike) -> float:
    """Compute the highest `|r|` of two signals `(T,)`, one rolled by 0 to T − 2 samples, by FFT."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (true, predicted))
    a, b = a - np.mean(a), b - np.mean(b)
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    if len(a) < 2 or not (np.isfinite(norm) and norm > 0):
        return float("nan")
    # At n: a delayed by n samples, times b.
    products = scipy.fft.irfft(np.conj(scipy.fft.rfft(a)) * scipy.fft.rfft(b), len(a))
    return float(np.max(np.abs(products[: len(a) - 1])) / norm)


def standard_errors(
    true: Array, predicted: Array, snr: ArrayLike, macc: ArrayLike
) -> Mapping[str, float]:
    """Compute the standard errors by the metrics' names; pairs with a NaN are left out."""
    keep = np.isfinite(true) & np.isfinite(predicted)
    error, reference = predicted[keep] - true[keep], true[keep]
    squared, n = error**2, len(error)
    return {
        "mae_bpm": _standard_error_of_mean(np.abs(error)),
        "mape_percent": _standard_error_of_mean(100 * np.abs(error) / reference),
        "rmse_bpm": float(np.sqrt(np.std(squared) / np.sqrt(n))) if n > 1 else np.nan,
        "snr_db": _standard_error_of_mean(np.asarray(snr, dtype=np.float64)),
        "macc": _standard_error_of_mean(np.asarray(macc, dtype=np.float64)),
    }


def _standard_error_of_mean(x: Array) -> float:
    x = x[np.isfinite(x)]
    return float(np.std(x) / np.sqrt(len(x))) if len(x) > 1 else float("nan")
