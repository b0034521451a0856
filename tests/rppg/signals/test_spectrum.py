"""Spectrum, heart rate, quality, windows, heart rate over time."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.signal import periodogram

from rppg.errors import InputError
from rppg.signals import (
    RELIABLE,
    bandpass,
    detrend,
    heart_rate_bpm,
    power_spectrum,
    quality,
    quality_evidence,
    rate_series,
    sliding_windows,
    valid_share,
)
from rppg.signals.windows import WINDOWS_AT_ONCE


def sine(bpm: float, seconds: float = 10.0, fps: float = 30.0, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * bpm / 60 * np.arange(round(seconds * fps)) / fps + phase)


def test_the_spectrum_is_a_hann_periodogram_on_a_fine_grid() -> None:
    x = np.random.default_rng(0).standard_normal((2, 300)) + 7
    frequencies, power = power_spectrum(x, 30.0)
    assert frequencies[1] * 60 <= 0.1
    size = round(30.0 / frequencies[1])
    expected = periodogram(x, 30.0, window="hann", nfft=size, detrend="constant")[1]
    np.testing.assert_allclose(power, expected, rtol=1e-12, atol=1e-15)
    nothing = power_spectrum(np.zeros((2, 0, 300)), 30.0)
    np.testing.assert_array_equal(nothing[0], frequencies)
    assert nothing[1].shape == (2, 0, len(frequencies))
    assert heart_rate_bpm(np.zeros((2, 0, 300)), 30.0).shape == (2, 0)
    with pytest.raises(InputError, match="empty"):
        power_spectrum(np.zeros((2, 0)), 30.0)


@given(
    bpm=st.floats(36, 198),
    phase=st.floats(0, 6.28),
    fps=st.sampled_from([20.0, 25.0, 30.0, 60.0]),
    scale=st.floats(1e-6, 1e6),
    seconds=st.sampled_from([10.0, 30.0]),
)
@example(bpm=197.98, phase=0.3, fps=30.0, scale=1.0, seconds=10.0)
@example(bpm=36.0, phase=0.3, fps=30.0, scale=1.0, seconds=10.0)
def test_heart_rate_of_a_tone_within_a_tenth_of_a_bpm(
    bpm: float, phase: float, fps: float, scale: float, seconds: float
) -> None:
    """Over the whole band."""
    x = scale * (3 + sine(bpm, seconds, fps, phase))
    assert heart_rate_bpm(x, fps) == pytest.approx(bpm, abs=0.1)


def test_heart_rate_takes_any_leading_axes() -> None:
    rates = np.array([[50.0, 72.3], [101.7, 180.0]])
    x = np.stack([[sine(rate) for rate in row] for row in rates])
    np.testing.assert_allclose(heart_rate_bpm(x, 30.0), rates, atol=0.1)
    assert quality(x, 30.0).shape == (2, 2)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(300),
        np.full(300, 0.1),
        np.full(300, np.nan),
        np.where(np.arange(300) == 7, np.inf, 1.0),
        np.zeros(2),
        np.zeros(0),
    ],
    ids=["zeros", "constant", "nan", "inf", "two samples", "empty"],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_no_peak_no_heart_rate(x: np.ndarray) -> None:
    assert np.isnan(heart_rate_bpm(x, 30.0))
    assert quality(x, 30.0) == 0.0


def test_quality_falls_as_noise_rises_and_tells_good_windows_from_bad() -> None:
    rng = np.random.default_rng(0)
    pulse = sine(75.0) + 0.3 * sine(150.0)
    means, all_quality, all_error = [], [], []
    for noise in (0.0, 1.0, 3.0, 10.0):
        x = bandpass(pulse + noise * rng.standard_normal((200, 300)), 30.0)
        index = quality(x, 30.0)
        assert np.all((index >= 0) & (index <= 1))
        means.append(np.mean(index))
        all_quality.append(index)
        all_error.append(np.abs(heart_rate_bpm(x, 30.0) - 75))
    assert means[0] > 0.85
    assert np.all(np.diff(means) < 0)
    index, error = np.concatenate(all_quality), np.concatenate(all_error)
    assert np.mean(error[index > 0.7]) < 1
    assert np.mean(error[index < 0.3]) > 10


@pytest.mark.parametrize(("colour", "most"), [("white", 0.06), ("brown", 0.25)])
def test_noise_is_seldom_called_reliable(colour: str, most: float) -> None:
    noise = np.random.default_rng(0).standard_normal((1000, 300))
    x = bandpass(noise if colour == "white" else np.cumsum(noise, axis=-1), 30.0)
    assert np.mean(quality(x, 30.0) >= RELIABLE) < most


def test_many_windows_are_taken_a_few_at_a_time() -> None:
    x = np.random.default_rng(0).standard_normal(30 * 150)
    rates = rate_series(x, 30.0)
    _, windows = sliding_windows(x, 30.0)
    assert len(windows) > 2 * WINDOWS_AT_ONCE
    np.testing.assert_allclose(rates.hr_bpm, heart_rate_bpm(windows, 30.0))
    features = quality_evidence(windows, 30.0)
    np.testing.assert_allclose(rates.features[:, :3], features[:, :3])


def test_windows_lie_within_the_signal_at_the_given_stride() -> None:
    x = np.arange(2 * 950.0).reshape(2, 950)
    starts, windows = sliding_windows(x, 30.0, length_s=10.0, stride_s=1.5)
    np.testing.assert_allclose(starts, np.arange(15) * 1.5)
    assert windows.shape == (2, 15, 300)
    np.testing.assert_array_equal(windows[1, 2], x[1, 90:390])
    assert sliding_windows(x[:, :299], 30.0)[1].shape == (2, 0, 300)
    assert sliding_windows(x[:, :300], 30.0)[1].shape == (2, 1, 300)
    with pytest.raises(InputError, match="give longer"):
        sliding_windows(x, 30.0, stride_s=0.0)


def test_a_window_without_a_face_has_no_rate() -> None:
    valid = np.ones(900, dtype=np.bool_)
    valid[100:400] = False
    share = valid_share(valid, 30.0, stride_s=10.0)
    np.testing.assert_allclose(share, [1 / 3, 2 / 3, 1])
    rates = rate_series(sine(66.0, 30.0), 30.0, valid=valid, stride_s=10.0)
    np.testing.assert_allclose(rates.hr_bpm, [np.nan, 66, 66], atol=0.1)
    assert rates.quality[0] == 0
    np.testing.assert_allclose(rates.end_s, [10, 20, 30])


@pytest.mark.parametrize("bpm", [36, 38, 40])
def test_a_slow_heart_is_not_doubled_by_the_filter(bpm: float) -> None:
    time_s = np.arange(300) / 30
    beat = 2 * np.pi * bpm / 60 * time_s
    pulse = np.sin(beat) + 0.45 * np.sin(2 * beat + 1) + 0.15 * np.sin(3 * beat + 2)
    clean = bandpass(detrend(pulse, 30.0), 30.0)
    assert heart_rate_bpm(clean, 30.0) == pytest.approx(bpm, abs=2)
    both = heart_rate_bpm(np.stack([clean, np.sin(2 * beat)]), 30.0)
    assert both == pytest.approx([bpm, 2 * bpm], abs=2)  # a fast heart without a slow line stays


def test_noise_at_half_the_rate_does_not_halve_it() -> None:
    rng = np.random.default_rng(0)
    time_s = np.arange(300) / 30
    waves = np.sin(2 * np.pi * 1.25 * time_s) + 0.5 * rng.standard_normal((50, 300))
    waves += 0.3 * np.sin(2 * np.pi * 0.625 * time_s)
    rates = heart_rate_bpm(bandpass(detrend(waves, 30.0), 30.0), 30.0)
    assert np.mean(np.abs(rates - 75) < 3) == 1
