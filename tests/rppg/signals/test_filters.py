"""Detrending and bandpass against closed forms and SciPy."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from rppg.errors import InputError
from rppg.signals import bandpass, detrend, heart_rate_bpm
from rppg.signals.butterworth import bandpass_sections


@pytest.mark.parametrize("n", [3, 4, 5, 120])
def test_detrend_is_the_published_dense_formula_at_30_hz(n: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, n)).cumsum(axis=-1)
    d = np.diff(np.eye(n), n=2, axis=0)
    dense = np.eye(n) - np.linalg.inv(np.eye(n) + 100**2 * d.T @ d)
    np.testing.assert_allclose(detrend(x, 30.0), x @ dense.T, atol=1e-7)


@pytest.mark.parametrize("fps", [20.0, 30.0, 60.0, 256.0])
def test_the_cutoff_stays_where_it_is_at_any_rate(fps: float) -> None:
    cutoff_hz = 30 / (2 * np.pi * np.sqrt(100))
    times = np.arange(int(60 * fps)) / fps
    middle = slice(int(20 * fps), int(40 * fps))
    for hz, gain in ((cutoff_hz, 0.5), (cutoff_hz / 3, 1 / 82), (cutoff_hz * 3, 81 / 82)):
        x = np.sin(2 * np.pi * hz * times)
        z = detrend(x, fps)[middle]
        found = np.sum(z * x[middle]) / np.sum(x[middle] ** 2)
        assert found == pytest.approx(gain, abs=0.01)


@pytest.mark.parametrize("fps", [20.0, 30.0, 256.0])
@pytest.mark.parametrize("line", [(0.0, 0.1), (0.37, 5.0), (-1e-3, 1e4)])
def test_nothing_is_left_of_a_straight_line(fps: float, line: tuple[float, float]) -> None:
    x = line[0] * np.arange(900.0) + line[1]
    assert np.all(detrend(x, fps) == 0)
    assert np.isnan(heart_rate_bpm(bandpass(detrend(x, fps), fps), fps))


def test_a_row_of_nan_leaves_the_others_alone() -> None:
    x = np.random.default_rng(0).standard_normal((3, 200))
    spoilt = x.copy()
    spoilt[1, 50] = np.nan
    for filtered in (lambda y: detrend(y, 30.0), lambda y: bandpass(y, 30.0)):
        found = filtered(spoilt)
        assert np.all(np.isnan(found[1]))
        np.testing.assert_allclose(found[[0, 2]], filtered(x)[[0, 2]], atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("band", [(0.6, 3.3), (0.1, 3.9)])
def test_bandpass_is_scipys_with_ends_extended_by_one_slow_period(
    order: int, band: tuple[float, float]
) -> None:
    """The wide band of an odd order has real poles."""
    for fps in (8.0, 29.97, 30.0):
        x = np.random.default_rng(0).standard_normal((2, 3, 400))
        sections = butter(order, band, btype="bandpass", fs=fps, output="sos")
        ours = [(b0, b1, b2, 1, *a) for b0, b1, b2, *a in bandpass_sections(order, *band, fps)]
        np.testing.assert_allclose(ours, sections, rtol=1e-12)
        expected = sosfiltfilt(sections, x - x[..., :1], padlen=round(fps / band[0]))
        tolerance = 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(bandpass(x, fps, *band, order), expected, atol=tolerance)


def test_bandpass_has_no_phase_and_halves_power_twice_at_its_edges() -> None:
    times = np.arange(1800) / 30
    for hz, gain in ((1.4, 1.0), (0.6, 0.5), (3.3, 0.5), (0.1, 0.0), (10.0, 0.0)):
        x = np.sin(2 * np.pi * hz * times)
        y = bandpass(x, 30.0)[600:1200]
        quadrature = np.cos(2 * np.pi * hz * times)[600:1200]
        assert 2 * np.mean(y * x[600:1200]) == pytest.approx(gain, abs=0.01)
        assert 2 * np.mean(y * quadrature) == pytest.approx(0, abs=0.01)


def test_a_band_beyond_half_the_rate_is_refused_with_the_mend() -> None:
    with pytest.raises(InputError, match="higher frame rate"):
        bandpass(np.zeros(100), 6.0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_signals_too_short_to_filter_are_zeros(n: int) -> None:
    assert np.all(detrend(np.ones((2, n)), 30.0) == 0)
    assert np.all(bandpass(np.ones((2, n)), 30.0) == 0)
