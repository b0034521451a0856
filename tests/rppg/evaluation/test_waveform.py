"""Waveform scores on signals whose answer is known."""

import numpy as np
import pytest

from rppg.evaluation.waveform import beat_error_ms, lagged_correlation, macc, sine_correlation

TIMES = np.arange(600) / 30
PULSE = np.sin(2 * np.pi * 1.1 * TIMES) + 0.4 * np.sin(2 * np.pi * 2.2 * TIMES + 1)


def test_correlation_forgives_a_lag_within_a_fifth_of_a_second_and_no_inversion() -> None:
    late = np.roll(PULSE, 5)
    assert lagged_correlation(PULSE[50:-50], late[50:-50], 30.0) == pytest.approx(1)
    assert lagged_correlation(PULSE, 3 * PULSE + 7, 30.0) == pytest.approx(1)
    assert lagged_correlation(PULSE, -PULSE, 30.0) < 0.7
    assert np.isnan(lagged_correlation(PULSE, np.full(600, 0.1), 30.0))
    assert np.isnan(lagged_correlation(PULSE, np.full(600, np.nan), 30.0))


def test_a_sine_gets_its_share_of_the_pulse() -> None:
    assert sine_correlation(PULSE, 30.0, 66.0) == pytest.approx(1 / np.sqrt(1.16), abs=0.01)
    assert np.isnan(sine_correlation(PULSE, 30.0, np.nan))


def test_macc_is_the_loop_over_all_lags() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 80))
    da, db = a - a.mean(), b - b.mean()
    loop = np.max(np.abs(np.correlate(da, db, mode="full")))
    assert macc(a, b) == pytest.approx(loop / np.sqrt(np.sum(da**2) * np.sum(db**2)))
    assert macc(a, -a) == pytest.approx(1)
    assert np.isnan(macc(a, np.zeros(80)))


def test_beat_intervals_are_compared_beat_by_beat() -> None:
    def wave(beats: np.ndarray) -> np.ndarray:
        return np.sum(np.exp(-0.5 * ((TIMES[:, None] - beats) / 0.1) ** 2), axis=1)

    beats = np.arange(0.5, 19.5, 0.9)
    assert beat_error_ms(wave(beats), wave(beats + 0.1), 30.0) == pytest.approx(0, abs=1)
    shaken = beats + 0.03 * (-1) ** np.arange(len(beats))
    assert beat_error_ms(wave(beats), wave(shaken), 30.0) == pytest.approx(60, abs=4)
    assert np.isnan(beat_error_ms(wave(beats), np.zeros(600), 30.0))
    assert np.isnan(beat_error_ms(wave(beats), np.full(600, np.nan), 30.0))
