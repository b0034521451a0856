"""The path of heart rates over all windows, on signals whose rate is known at each time."""

from dataclasses import replace

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.signals import continuous_rate_series, rate_series
from rppg.signals.continuity import (
    most_likely_path,
    path_grid_bpm,
    path_scores,
    path_windows,
)
from rppg.signals.protocol import TOOLBOX, Protocol, measure

FPS = 30.0


def wave(rate_bpm: np.ndarray, harmonic: float = 0.0) -> np.ndarray:
    """Return a pulse whose heart rate at each sample is given."""
    phase = 2 * np.pi * np.cumsum(rate_bpm) / 60 / FPS
    return np.sin(phase) + harmonic * np.sin(2 * phase)


def constant(bpm: float, seconds: float) -> np.ndarray:
    return np.full(round(seconds * FPS), bpm)


@pytest.mark.parametrize("rise_bpm", [-60.0, 60.0])
def test_a_chirp_is_followed(rise_bpm: float) -> None:
    """One bpm per second, for a minute: a window's rate is that of its middle."""
    rate_bpm = 110 + rise_bpm * (np.arange(round(60 * FPS)) / (60 * FPS) - 0.5)
    found = continuous_rate_series(wave(rate_bpm), FPS)
    middle = ((found.start_s + found.end_s) / 2 * FPS).astype(int)
    np.testing.assert_allclose(found.hr_bpm, rate_bpm[middle], atol=0.5)


def test_a_louder_false_peak_is_corrected_by_its_neighbours() -> None:
    """The rate is then the window's own peak near the path, not the path's."""
    bvp = wave(constant(72.4, 60))
    part = slice(round(25 * FPS), round(35 * FPS))
    bvp[part] += 1.6 * wave(constant(130, 10))
    alone = rate_series(bvp, FPS, stride_s=5.0)
    nothing = np.zeros(len(alone.quality))
    found = continuous_rate_series(bvp, FPS, stride_s=5.0)
    again = continuous_rate_series(bvp, FPS, stride_s=5.0, rates=replace(alone, quality=nothing))
    np.testing.assert_array_equal(again.hr_bpm, found.hr_bpm)
    np.testing.assert_array_equal(again.quality, nothing)
    assert alone.hr_bpm[5] == pytest.approx(130, abs=0.5)
    np.testing.assert_allclose(found.hr_bpm, 72.4, atol=0.5)
    np.testing.assert_array_equal(found.hr_bpm[[0, -1]], alone.hr_bpm[[0, -1]])
    np.testing.assert_array_equal(found.quality, alone.quality)
    np.testing.assert_array_equal(found.start_s, alone.start_s)


def test_a_true_jump_is_followed() -> None:
    """Of 50 bpm at once, which no heart does: within half a window, plus three seconds."""
    jump_s = 30.0
    bvp = wave(np.concatenate([constant(70, jump_s), constant(120, 30)]))
    found = continuous_rate_series(bvp, FPS)
    middle_s = (found.start_s + found.end_s) / 2
    np.testing.assert_allclose(found.hr_bpm[middle_s < jump_s - 3], 70, atol=1.5)
    np.testing.assert_allclose(found.hr_bpm[middle_s > jump_s + 3], 120, atol=1.5)


@pytest.mark.parametrize("bpm", [45.0, 75.0, 95.0])
def test_neither_half_nor_double_the_rate_wins(bpm: float) -> None:
    """With a second harmonic of equal power and noise, half the rate has no power of its own."""
    noise = 0.3 * np.random.default_rng(0).standard_normal(round(40 * FPS))
    found = continuous_rate_series(wave(constant(bpm, 40), harmonic=1.0) + noise, FPS)
    np.testing.assert_allclose(found.hr_bpm, bpm, atol=1.0)
    grid = path_grid_bpm()
    score = path_scores(wave(constant(bpm, 10), harmonic=1.0)[None], FPS)[0]
    at = {f: score[np.argmin(abs(grid - f))] for f in (bpm, 2 * bpm)}
    assert at[bpm] == pytest.approx(at[2 * bpm] + np.log(2), abs=0.1)


def test_windows_without_valid_samples_do_not_break_the_path() -> None:
    """They have no heart rate; noise in them, or NaN, doesn't move the others."""
    bvp = wave(constant(80, 60))
    hidden = slice(round(20 * FPS), round(42 * FPS))
    valid = np.ones(len(bvp), dtype=np.bool_)
    valid[hidden] = False
    for content in (np.nan, 3 * wave(constant(150, 22))):
        bvp[hidden] = content
        found = continuous_rate_series(bvp, FPS, valid=valid)
        missing = np.isnan(found.hr_bpm)
        np.testing.assert_array_equal(missing, np.isnan(rate_series(bvp, FPS, valid=valid).hr_bpm))
        assert missing.any()
        clear = (found.end_s <= 20) | (found.start_s >= 42)
        np.testing.assert_allclose(found.hr_bpm[clear], 80, atol=0.2)
    nothing = continuous_rate_series(np.full(900, np.nan), FPS)
    assert np.isnan(nothing.hr_bpm).all()
    assert np.isnan(continuous_rate_series(np.zeros(900), FPS).hr_bpm).all()
    assert continuous_rate_series(bvp[:100], FPS).hr_bpm.shape == (0,)


def test_what_is_not_valid_has_no_say_in_the_path() -> None:
    """Two rates of nearly the same power; only samples that aren't valid favour the lesser one."""
    bvp = wave(constant(80, 60)) + 0.9 * wave(constant(110, 60))
    valid = np.ones(len(bvp), dtype=np.bool_)
    valid[round(12 * FPS) : round(48 * FPS)] = False
    lost = slice(round(17 * FPS), round(43 * FPS))  # in no window that is half valid
    bvp[lost] = 3 * wave(constant(110, 26))
    found = continuous_rate_series(bvp, FPS, valid=valid).hr_bpm
    np.testing.assert_allclose(found[np.isfinite(found)], 80, atol=1)
    everywhere = continuous_rate_series(bvp, FPS).hr_bpm
    np.testing.assert_allclose(everywhere[np.isfinite(found)], 110, atol=1)


def test_evidence_rules_a_lamp_out() -> None:
    """The lamp is louder all the time, so that only evidence can tell."""
    bvp = wave(constant(66, 40)) + 2 * wave(constant(100, 40))
    grid = path_grid_bpm()
    windows = len(continuous_rate_series(bvp, FPS, stride_s=path_windows(10.0)[1]).hr_bpm)
    evidence = np.tile(np.where(abs(grid - 100) < 12, 0.01, 1.0), (windows, 1))
    assert continuous_rate_series(bvp, FPS, stride_s=10.0).hr_bpm == pytest.approx(100, abs=1)
    found = continuous_rate_series(bvp, FPS, stride_s=10.0, evidence=evidence)
    assert found.hr_bpm == pytest.approx(66, abs=1)
    with pytest.raises(InputError, match=r"evidence \(3, 4\) for 31 windows and 163 rates"):
        continuous_rate_series(bvp, FPS, stride_s=10.0, evidence=np.ones((3, 4)))


def test_the_path_is_the_best_of_all_paths() -> None:
    """Against every path of four windows through five rates."""
    rng = np.random.default_rng(0)
    paths = np.stack(np.meshgrid(*[np.arange(5)] * 4, indexing="ij"), -1).reshape(-1, 4)
    for stride_s in (0.5, 1.0):
        for score in 3 * rng.standard_normal((20, 4, 5)):
            v = np.diff(paths, axis=1) / stride_s
            # Student's t with scale 2 bpm/s and 3 degrees of freedom
            penalty = 2 * np.log(1 + (v / 2.0) ** 2 / 3).sum(axis=1)
            total = stride_s * (score[np.arange(4), paths].sum(axis=1) - penalty)
            expected = paths[np.argmax(total)]
            np.testing.assert_array_equal(most_likely_path(score, stride_s), expected)


def test_the_path_goes_through_windows_a_second_apart_whatever_the_stride() -> None:
    assert path_windows(10.0) == (10, 1.0)
    assert path_windows(0.5) == (1, 0.5)
    assert path_windows(2.5) == (3, 2.5 / 3)
    bvp = wave(constant(72, 60)) + np.random.default_rng(1).standard_normal(round(60 * FPS))
    dense = continuous_rate_series(bvp, FPS)
    sparse = continuous_rate_series(bvp, FPS, stride_s=10.0)
    np.testing.assert_array_equal(sparse.hr_bpm, dense.hr_bpm[::10])


def test_the_protocol_has_continuity_as_a_setting() -> None:
    bvp = wave(constant(72.4, 60))
    bvp[round(20 * FPS) : round(30 * FPS)] += 1.6 * wave(constant(130, 10))
    default = measure(bvp, Protocol())
    found = measure(bvp, Protocol(continuity=True))
    alone = rate_series(default.bvp, FPS, stride_s=10.0, low_hz=0.6, high_hz=3.3)
    np.testing.assert_array_equal(default.windows.hr_bpm, alone.hr_bpm)
    assert default.windows.hr_bpm[2] == pytest.approx(130, abs=1)
    np.testing.assert_allclose(found.windows.hr_bpm, 72.4, atol=0.5)
    np.testing.assert_array_equal(found.bvp, default.bvp)
    np.testing.assert_array_equal(found.clip.hr_bpm, default.clip.hr_bpm)
    with pytest.raises(InputError, match="continuity with the protocol toolbox"):
        replace(TOOLBOX, continuity=True)
