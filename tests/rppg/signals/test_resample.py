"""Resampling by timestamps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rppg.errors import InputError
from rppg.signals import resample, resample_frames, uniform_grid


def test_the_grid_reaches_the_last_sample_and_not_beyond() -> None:
    times = np.arange(300) / 30 + 5.0
    grid = uniform_grid(times, 30.0)
    np.testing.assert_allclose(grid, times, atol=1e-9)
    assert uniform_grid([0.0, 0.99], 10.0)[-1] == pytest.approx(0.9)


@given(seed=st.integers(0, 10**6), slope=st.floats(-5, 5), fps=st.sampled_from([20.0, 25.0, 30.0]))
def test_a_straight_line_survives_any_jitter(seed: int, slope: float, fps: float) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.01, 0.06, 200))
    grid = uniform_grid(times, fps)
    lines = np.stack([slope * times + 1, -times])
    expected = np.stack([slope * grid + 1, -grid])
    np.testing.assert_allclose(resample(lines, times, grid)[:, 1:-1], expected[:, 1:-1], atol=1e-9)


def test_linear_interpolation_where_the_source_is_no_denser() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.05, 100))
    values = rng.standard_normal((3, 100))
    grid = uniform_grid(times, 30.0)
    expected = np.stack([np.interp(grid, times, row) for row in values])
    np.testing.assert_allclose(resample(values, times, grid), expected, atol=1e-12)


def test_mains_hum_of_a_dense_sensor_does_not_alias_into_the_pulse() -> None:
    times = np.arange(2560) / 256
    pulse = np.sin(2 * np.pi * 1.2 * times)
    hum = 2 * np.sin(2 * np.pi * 61 * times)  # picked at 30 Hz it would become 1 Hz
    grid = uniform_grid(times, 30.0)
    error = resample(pulse + hum, times, grid) - np.sin(2 * np.pi * 1.2 * grid)
    assert np.max(np.abs(error[2:-2])) < 0.1
    assert np.max(np.abs(np.interp(grid, times, hum))) > 1


@pytest.mark.parametrize("fps", [20.0, 30.0, 256.0])
def test_a_constant_stays_exactly_constant(fps: float) -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.9, 1.1, 2000)) / fps
    assert np.all(resample(np.full(2000, 0.1), times, uniform_grid(times, 30.0)) == 0.1)


def test_a_missing_sample_spoils_only_its_neighbours() -> None:
    values = np.arange(100.0)
    values[[0, 50]] = np.nan
    found = resample(values, np.arange(100) / 30, np.arange(0.5, 99) / 30)
    assert np.sum(np.isnan(found)) == 3


def test_outside_of_the_clock_the_ends_are_held() -> None:
    found = resample([1.0, 2.0, 3.0], [0.0, 1.0, 2.0], [-1.0, -0.25, 0.5, 1.25, 2.0, 2.75])
    np.testing.assert_allclose(found, [1.0, 1.0, 1.5, 2.25, 3.0, 3.0])
    dense = resample(np.arange(300.0), np.arange(300) / 100, np.arange(-10, 100) / 30)
    assert dense[0] == 0.0
    assert dense[-1] == 299.0


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_frames_are_interpolated_like_signals(dtype: type) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (150, 3, 4, 3)).astype(dtype)
    times = np.cumsum(rng.uniform(0.02, 0.05, 150))
    grid = uniform_grid(times, 30.0)
    found = resample_frames(frames, times, grid)
    assert found.dtype == np.float32
    expected = [
        np.interp(grid, times, frames[:, 1, 2, 0]),
        np.interp(grid, times, frames[:, 0, 0, 2]),
    ]
    np.testing.assert_allclose([found[:, 1, 2, 0], found[:, 0, 0, 2]], expected, atol=1e-3)


def test_errors_name_the_fault_and_the_mend() -> None:
    with pytest.raises(InputError, match=r"1\.0 s is followed by 1\.0 s .* drop repeated"):
        resample([1.0, 2.0, 3.0], [0.0, 1.0, 1.0], [0.0])
    with pytest.raises(InputError, match="2 samples but 3 timestamps"):
        resample([1.0, 2.0], [0.0, 1.0, 2.0], [0.0])
    with pytest.raises(InputError, match="at least two"):
        uniform_grid([0.0], 30.0)
    with pytest.raises(InputError, match="positive rate"):
        uniform_grid([0.0, 1.0], 0.0)
    with pytest.raises(InputError, match="timestamps must increase"):
        resample([1.0, 2.0], [0.0, np.nan], [0.0])
