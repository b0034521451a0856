"""Classical methods on signals whose answer is known."""

import numpy as np
import pytest

from rppg.methods import METHODS, chrom, green, pos, skin_trace
from rppg.signals import bandpass, heart_rate_bpm

FPS = 30.0
SIGNATURE = np.array([0.33, 0.77, 0.53])
"""Relative strength of the pulse in R, G, B under white light (de Haan, van Leest 2014)."""


def pulse(seconds: float = 20.0) -> np.ndarray:
    """BVP up at systole, 72 bpm."""
    return np.sin(2 * np.pi * 1.2 * np.arange(int(seconds * FPS)) / FPS)


def motion(seconds: float = 20.0) -> np.ndarray:
    """Relative intensity: head motion at 1.9 Hz, far stronger than the pulse."""
    return 1 + 0.05 * np.sin(2 * np.pi * 1.9 * np.arange(int(seconds * FPS)) / FPS + 1)


def skin(bvp: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Skin that reflects less when blood volume is high."""
    colour = np.array([180.0, 120.0, 90.0])
    return colour * light[:, None] * (1 - 0.003 * SIGNATURE * bvp[:, None])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a[60:-60], b[60:-60])[0, 1])


@pytest.mark.parametrize("name", METHODS)
def test_a_clean_pulse_comes_out_up_at_systole(name: str) -> None:
    rgb = skin(pulse(), np.ones(600))
    found = METHODS[name].function(rgb, FPS)
    assert found.shape == (600,)
    # CHROM filters within windows of 1.6 s, whose edges it shapes a little.
    assert correlation(found, pulse()) > (0.93 if name == "chrom" else 0.99)


def test_pos_cancels_intensity_motion_alone_exactly() -> None:
    still, moved = pos(skin(0 * pulse(), np.ones(600)), FPS), pos(skin(0 * pulse(), motion()), FPS)
    assert np.all(still == 0)
    assert np.all(moved == 0)


def test_pos_and_chrom_see_through_intensity_motion_and_green_does_not() -> None:
    rgb = skin(pulse(), motion())
    rates = {
        name: heart_rate_bpm(bandpass(m.function(rgb, FPS), FPS), FPS)
        for name, m in METHODS.items()
    }
    assert rates["pos"] == pytest.approx(72, abs=0.2)
    assert rates["chrom"] == pytest.approx(72, abs=0.2)
    assert rates["green"] == pytest.approx(1.9 * 60, abs=0.2)
    assert correlation(pos(rgb, FPS), pulse()) > 0.98
    assert correlation(chrom(rgb, FPS), pulse()) > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_the_scale_of_each_channel_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(0)
    rgb = skin(pulse(), motion()) + 0.3 * rng.standard_normal((600, 3))
    found = METHODS[name].function(rgb * np.array([0.01, 7.0, 0.5]), FPS)
    np.testing.assert_allclose(found, METHODS[name].function(rgb, FPS), atol=1e-10)


@pytest.mark.parametrize("name", METHODS)
def test_clips_in_a_batch_do_not_meet(name: str) -> None:
    rgb = np.random.default_rng(0).uniform(50, 200, (2, 3, 100, 3))
    together = METHODS[name].function(rgb, FPS)
    assert together.shape == (2, 3, 100)
    alone = METHODS[name].function(rgb[1, 2], FPS)
    np.testing.assert_allclose(together[1, 2], alone, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [0.0, 0.1, 200.0])
@pytest.mark.parametrize("frames", [1, 2, 5, 400])
def test_a_still_picture_has_no_pulse(name: str, value: float, frames: int) -> None:
    found = METHODS[name].function(np.full((frames, 3), value), FPS)
    assert found.shape == (frames,)
    assert np.all(np.isfinite(found))
    assert np.isnan(heart_rate_bpm(found, FPS))


@pytest.mark.parametrize("fps", [20.0, 30.0])
def test_pos_is_algorithm_1_of_the_paper(fps: float) -> None:
    rgb = np.random.default_rng(0).uniform(90, 110, (120, 3))
    c = rgb.T
    frames, length = 120, int(np.ceil(1.6 * fps))
    h = np.zeros(frames)
    projection = np.array([[0, 1, -1], [-2, 1, 1]])
    for n in range(length, frames + 1):
        m = n - length
        c_n = np.diag(1 / c[:, m:n].mean(axis=1)) @ c[:, m:n]
        s = projection @ c_n
        wave = s[0] + s[0].std() / s[1].std() * s[1]
        h[m:n] += wave - wave.mean()
    np.testing.assert_allclose(pos(rgb, fps), -h, atol=1e-10)


def test_chrom_is_the_papers_overlap_add_away_from_the_ends() -> None:
    rgb = np.random.default_rng(0).uniform(90, 110, (240, 3))
    length = 48
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    expected = np.zeros(240)
    for m in range(0, 240 - length + 1, length // 2):
        r, g, b = (rgb[m : m + length] / rgb[m : m + length].mean(axis=0)).T
        x = bandpass(3 * r - 2 * g, FPS, 40 / 60, 4.0, order=3)
        y = bandpass(1.5 * r + g - 1.5 * b, FPS, 40 / 60, 4.0, order=3)
        s = x - x.std() / y.std() * y
        expected[m : m + length] += hann * (s - s.mean())
    np.testing.assert_allclose(chrom(rgb, FPS)[24:-24], expected[24:-24], atol=1e-9)


def test_green_is_minus_the_relative_variation_of_green() -> None:
    rgb = np.random.default_rng(0).uniform(90, 110, (50, 3))
    np.testing.assert_allclose(green(rgb, FPS), 1 - rgb[:, 1] / rgb[:, 1].mean())


@pytest.mark.parametrize("size", [36, 63])
def test_skin_is_the_ellipse_of_the_face_and_nothing_of_the_background(size: int) -> None:
    y, x = np.mgrid[:size, :size]
    face = np.hypot(x - (size - 1) / 2, y - (size - 1) / 2) <= size / 1.5 / 2
    frames = np.where(face[..., None], np.array([200, 120, 90]), 7).astype(np.uint8)
    trace = skin_trace(np.stack([frames, frames // 2]))
    np.testing.assert_allclose(trace, [[200, 120, 90], [100, 60, 45]])


def test_methods_say_where_they_come_from() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert "20" in method.paper
        assert method.description.endswith(".")
