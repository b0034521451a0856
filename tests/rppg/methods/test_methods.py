"""Classical methods on signals whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import FastICA

from rppg.errors import InputError
from rppg.methods import METHODS, chrom, green, ica, pbv, pos, skin_trace
from rppg.methods.jade import jade
from rppg.signals import bandpass, heart_rate_bpm
from rppg.signals.overlap_add import add_half_overlapping, half_overlapping_windows

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


def noisy() -> np.ndarray:
    return skin(pulse(), motion()) + 0.3 * np.random.default_rng(0).standard_normal((600, 3))


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


def rate_bpm(name: str, rgb: np.ndarray) -> float:
    return float(heart_rate_bpm(bandpass(METHODS[name].function(rgb, FPS), FPS), FPS))


def test_every_method_sees_through_intensity_motion_and_green_does_not() -> None:
    """ICA is left out: it has no means to tell one steady rhythm from another."""
    rgb = skin(pulse(), motion())
    rates = {name: rate_bpm(name, rgb) for name in METHODS if name != "ica"}
    assert rates.pop("green") == pytest.approx(1.9 * 60, abs=0.2)
    assert rates == {name: pytest.approx(72, abs=0.2) for name in rates}
    assert correlation(pos(rgb, FPS), pulse()) > 0.98
    assert correlation(chrom(rgb, FPS), pulse()) > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_the_scale_of_the_light_does_not_matter(name: str) -> None:
    found = METHODS[name].function(7.3 * noisy(), FPS)
    np.testing.assert_allclose(found, METHODS[name].function(noisy(), FPS), atol=1e-10)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"lgi", "omit"}))
def test_the_scale_of_each_channel_does_not_matter(name: str) -> None:
    """Save for LGI and OMIT, whose directions are those of the colours as they are."""
    found = METHODS[name].function(noisy() * np.array([0.01, 7.0, 0.5]), FPS)
    np.testing.assert_allclose(found, METHODS[name].function(noisy(), FPS), atol=1e-10)


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


def test_pbv_is_the_papers_weights_in_each_window() -> None:
    """`Q W ∝ p`, with unit gain on p, in windows of 1.6 s, Hann weighted, half overlapping."""
    rgb = np.random.default_rng(0).uniform(90, 110, (240, 3))
    p, length = np.array([0.33, 0.77, 0.53]), 48
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    expected = np.zeros(240)
    for m in range(0, 240 - length + 1, length // 2):
        c = (rgb[m : m + length] / rgb[m : m + length].mean(axis=0)).T - 1
        w = np.linalg.inv(c @ c.T) @ p
        expected[m : m + length] += hann * (w @ c) / (w @ p)
    np.testing.assert_allclose(pbv(rgb, FPS)[24:-24], -expected[24:-24], atol=1e-6)


def test_pbv_passes_the_signature_with_gain_one_and_stops_unlike_distortions() -> None:
    """Intensity and coloured glare within the band of the pulse, each stronger than it."""
    t = np.arange(600) / FPS
    tones = np.stack([np.sin(2 * np.pi * 1.7 * t), np.sin(2 * np.pi * 2.3 * t + 2)], axis=1)
    distortion = 0.005 * tones @ np.array([[1.0, 1.0, 1.0], [0.3, 0.5, 1.2]])
    relative = distortion - 0.003 * SIGNATURE * pulse()[:, None]
    rgb = np.array([180.0, 120.0, 90.0]) * (1 + relative)
    assert rate_bpm("pbv", rgb) == pytest.approx(72, abs=0.2)
    assert rate_bpm("green", rgb) != pytest.approx(72, abs=5)
    # In each window the least power: the pulse less what the two tones explain of it by chance.
    windows = half_overlapping_windows(np.column_stack([pulse(), tones]), 24)
    windows = windows - windows.mean(axis=-2, keepdims=True)
    beat, others = windows[..., :1], windows[..., 1:]
    expected = add_half_overlapping((beat - others @ np.linalg.pinv(others) @ beat)[..., 0], 600)
    np.testing.assert_allclose(pbv(rgb, FPS), 0.003 * expected, atol=3e-5)
    assert correlation(pbv(rgb, FPS), expected) > 0.999
    assert correlation(expected, pulse()) > 0.97


def test_pbv_takes_another_cameras_signature() -> None:
    signature = np.array([0.15, 0.6, 0.75])
    t = np.arange(600) / FPS
    light = 0.05 * np.sin(2 * np.pi * 1.7 * t)[:, None]
    rgb = 100 * (1 - 0.003 * signature * pulse()[:, None] + light)
    rgb += 0.05 * np.random.default_rng(0).standard_normal((600, 3))
    right, wrong = pbv(rgb, FPS, signature), pbv(rgb, FPS)
    assert correlation(right, pulse()) > correlation(wrong, pulse()) + 0.05


@pytest.mark.parametrize("name", ["lgi", "omit"])
def test_lgi_and_omit_are_the_projections_of_their_papers(name: str) -> None:
    x = noisy().T
    direction = np.linalg.svd(x)[0][:, 0] if name == "lgi" else np.linalg.qr(x)[0][:, 0]
    y = (np.eye(3) - np.outer(direction, direction)) @ x
    expected = -(y[1] - y[1].mean()) / x[1].mean()
    np.testing.assert_allclose(METHODS[name].function(x.T, FPS), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["lgi", "omit"])
def test_lgi_and_omit_remove_one_strong_direction_whatever_moves_along_it(name: str) -> None:
    """A random walk and a blink of the lamp in the pulse's band, 30 times the pulse."""
    rng = np.random.default_rng(0)
    light = 1 + 0.002 * rng.standard_normal(600).cumsum() + 0.05 * (np.arange(600) % 17 < 8)
    light /= light[0]
    rgb = skin(pulse(), light)
    assert rate_bpm(name, rgb) == pytest.approx(72, abs=0.2)
    # What is left of the pulse, to first order: its part across the skin's colour.
    colour = np.array([180.0, 120.0, 90.0])
    share = SIGNATURE[1] - colour**2 @ SIGNATURE / (colour @ colour)
    expected = 0.003 * share * light * pulse() / light.mean()
    found = METHODS[name].function(rgb, FPS)
    np.testing.assert_allclose(found, expected - expected.mean(), atol=2e-5)
    assert correlation(found, light * pulse()) > 0.9999


def mixtures(seed: int, frames: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """A pulse, a square wave of the lamp and a wandering head, mixed anyhow: `(T, 3)`, `(T,)`."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / FPS
    beat = np.sin(2 * np.pi * 1.2 * t) + 0.3 * np.sin(4 * np.pi * 1.2 * t + 1)
    lamp = np.sign(np.sin(2 * np.pi * 0.37 * t + 1)) + 0.5 * rng.uniform(-1, 1, frames)
    head = bandpass(rng.laplace(size=frames), FPS, 0.7, 6.0)
    sources = np.stack([beat / beat.std(), lamp / lamp.std(), head / head.std()])
    mixing = rng.uniform(-1, 1, (3, 3))
    mixing[1, 0] = -0.5  # systole is dark in green
    return 120 + 0.3 * (mixing @ sources).T, beat


@pytest.mark.parametrize("seed", range(6))
def test_ica_unmixes_what_no_fixed_projection_can(seed: int) -> None:
    rgb, beat = mixtures(seed)
    found = ica(rgb, FPS)
    assert heart_rate_bpm(bandpass(found, FPS), FPS) == pytest.approx(72, abs=0.2)
    assert np.corrcoef(found, beat)[0, 1] > 0.95
    # Its size is what it does to green, 0.3 · 0.5 of 120, but for sources alike by chance.
    assert np.std(found) == pytest.approx(0.15 / 120, rel=0.25)


def test_ica_follows_sources_that_mix_anew_after_half_a_minute() -> None:
    (first, beat), (second, _) = mixtures(0, 1800), mixtures(1, 1800)
    found = ica(np.concatenate([first, second]), FPS)
    assert found.shape == (3600,)
    for part, wave in ((found[:1200], beat[:1200]), (found[2400:], beat[600:])):
        assert np.corrcoef(part, wave)[0, 1] > 0.9


def test_ica_gives_the_same_bits_twice() -> None:
    rgb, _ = mixtures(0)
    np.testing.assert_array_equal(ica(rgb, FPS), ica(rgb, FPS))


@pytest.mark.parametrize("seed", range(6))
def test_jade_finds_the_mixing_matrix_up_to_order_and_sign(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = np.stack(
        [rng.uniform(-1, 1, 20000), rng.laplace(size=20000), rng.uniform(size=20000) ** 3]
    )
    sources = (sources - sources.mean(1, keepdims=True)) / sources.std(1, keepdims=True)
    mixing = rng.standard_normal((3, 3))
    found, a = jade(mixing @ sources)
    np.testing.assert_allclose(a @ found, mixing @ sources, atol=1e-9)
    np.testing.assert_allclose(found @ found.T / 20000, np.eye(3), atol=1e-9)
    agreement = np.abs(found @ sources.T) / 20000
    assert np.all(np.sort(agreement, axis=1)[:, :2] < 0.06)
    np.testing.assert_array_equal(np.sort(np.argmax(agreement, axis=1)), [0, 1, 2])


@pytest.mark.parametrize("seed", range(3))
def test_jade_agrees_with_fastica(seed: int) -> None:
    rgb, beat = mixtures(seed)
    x = (rgb - rgb.mean(0)) / rgb.std(0)
    other = FastICA(whiten="unit-variance", fun="cube", random_state=0, tol=1e-8).fit_transform(x)
    found, _ = jade(x.T)
    same = np.abs(np.corrcoef(found, other.T)[:3, 3:])
    assert np.all(np.max(same, axis=1) > 0.97)
    assert np.max(np.abs(np.corrcoef(found, beat)[:3, 3])) > 0.97


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_jade_of_fewer_sources_has_zeros_for_the_rest(rank: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, rank)) @ rng.uniform(-1, 1, (rank, 2000))
    found, a = jade(x)
    assert np.sum(np.std(found, axis=1) > 0.5) == rank
    np.testing.assert_allclose(a @ found, x - x.mean(1, keepdims=True), atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_missing_frame_spoils_its_own_clip_and_no_other(name: str, bad: float) -> None:
    clips = np.stack([noisy(), noisy()])
    clips[0, 300, 1] = bad
    with np.errstate(invalid="ignore"):
        found = METHODS[name].function(clips, FPS)
    np.testing.assert_allclose(found[1], METHODS[name].function(noisy(), FPS), atol=1e-12)
    assert np.isnan(found[0]).any()
    assert np.isnan(heart_rate_bpm(found[0], FPS))


@pytest.mark.parametrize("name", METHODS)
def test_no_frames_and_no_clips_give_nothing(name: str) -> None:
    assert METHODS[name].function(np.zeros((0, 3)), FPS).shape == (0,)
    assert METHODS[name].function(np.zeros((0, 100, 3)), FPS).shape == (0, 100)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_colour_trace_is_refused(name: str) -> None:
    for shape in ((600,), (600, 1), (3, 600), (600, 4)):
        with pytest.raises(InputError, match=r"give \(\.\.\., T, 3\)"):
            METHODS[name].function(np.ones(shape), FPS)
    for fps in (0.0, -30.0, np.nan):
        with pytest.raises(InputError, match="positive rate such as 30"):
            METHODS[name].function(np.ones((600, 3)), fps)


@pytest.mark.parametrize("name", METHODS)
@given(
    frames=st.integers(2, 200),
    fps=st.sampled_from([10.0, 15.0, 29.97, 30.0, 60.0]),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["noise", "walk", "grey", "black channel", "step", "8 bit"]),
)
def test_any_finite_trace_gives_a_finite_answer(
    name: str, frames: int, fps: float, seed: int, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(50, 200, 3) + rng.standard_normal((frames, 3))
    if kind == "walk":
        rgb = 100 + rng.standard_normal((frames, 3)).cumsum(axis=0)
    elif kind == "grey":
        rgb[:] = rgb[:, :1]
    elif kind == "black channel":
        rgb[:, rng.integers(3)] = 0
    elif kind == "step":
        rgb = np.where(np.arange(frames)[:, None] < frames // 2, 40.0, 200.0) * np.ones(3)
    elif kind == "8 bit":
        rgb = np.round(rgb)
    found = METHODS[name].function(rgb, fps)
    assert found.shape == (frames,)
    assert np.all(np.isfinite(found))
    alone = METHODS[name].function(np.stack([rgb, np.full_like(rgb, 80.0)])[:1], fps)[0]
    np.testing.assert_allclose(found, alone, atol=1e-9)


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
