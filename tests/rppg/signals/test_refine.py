"""The refined wave against closed forms."""

import numpy as np
import pytest

from rppg.signals import heart_rate_bpm, refine

FPS = 30.0


def pulse(times_s: np.ndarray, rate_hz: float) -> np.ndarray:
    phase = 2 * np.pi * rate_hz * times_s
    return np.sin(phase) + 0.3 * np.sin(2 * phase + 0.7)


@pytest.mark.parametrize(
    ("seconds", "median", "worst"),
    # in one span of 5 s, noise now and then has the strongest line beside the known rate
    [(5, 0.92, 0.65), (10, 0.92, 0.85), (40, 0.94, 0.91)],
)
def test_noise_goes_and_the_pulse_stays(seconds: int, median: float, worst: float) -> None:
    times_s = np.arange(int(seconds * FPS)) / FPS
    before, after = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rate_hz = rng.uniform(0.8, 1.6)
        clean = pulse(times_s, rate_hz)
        noisy = clean + rng.standard_normal(len(times_s))
        found = refine(noisy, np.full(len(times_s), rate_hz), FPS)
        assert found.shape == clean.shape
        before.append(np.corrcoef(noisy, clean)[0, 1])
        after.append(np.corrcoef(found, clean)[0, 1])
    assert np.median(before) < 0.65
    assert np.median(after) > median and min(after) > worst
    assert np.all(np.subtract(after, before) > 0.05)


def test_a_clean_pulse_keeps_its_shape_its_place_and_its_rate() -> None:
    times_s = np.arange(600) / FPS
    clean = pulse(times_s, 1.2)
    found = refine(clean, np.full(600, 1.2), FPS)
    assert np.corrcoef(found, clean)[0, 1] > 0.97  # the ends are mirrored, which breaks the phase
    assert np.corrcoef(found[60:-60], clean[60:-60])[0, 1] > 0.99
    lags = [np.corrcoef(found[9 + k : 591 + k], clean[9:591])[0, 1] for k in range(-9, 10)]
    assert np.argmax(lags) == 9
    assert heart_rate_bpm(found, FPS) == pytest.approx(72, abs=0.1)


def test_it_follows_a_rate_that_changes() -> None:
    times_s = np.arange(1800) / FPS
    rate_hz = 1.0 + 0.6 * times_s / times_s[-1]
    phase = 2 * np.pi * np.cumsum(rate_hz) / FPS
    noisy = np.sin(phase) + np.random.default_rng(0).standard_normal(1800)
    assert np.corrcoef(refine(noisy, rate_hz, FPS), np.sin(phase))[0, 1] > 0.93


def test_where_the_rate_is_not_known_nothing_is_changed() -> None:
    noise = np.random.default_rng(0).standard_normal(900)
    nowhere = np.full(900, np.nan)
    np.testing.assert_allclose(refine(noise, nowhere, FPS), noise, atol=1e-9)
    half = np.where(np.arange(900) < 450, np.nan, 1.3)
    found = refine(noise, half, FPS)
    np.testing.assert_allclose(found[:300], noise[:300], atol=1e-9)
    assert np.std(found[600:]) < 0.6 * np.std(noise[600:])
