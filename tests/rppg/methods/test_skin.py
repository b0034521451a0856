"""The mask keeps the face's colour and nothing else of what lies in its ellipse."""

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.evaluation import classical
from rppg.methods import skin_trace
from rppg.methods.skin import skin_mask
from rppg.signals import bandpass, heart_rate_bpm

SIZE, FPS = 36, 30.0
SKIN, HAIR, WALL = (
    np.array([190.0, 130, 100]),
    np.array([60.0, 45, 38]),
    np.array([120.0, 140, 150]),
)
y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
ELLIPSE = np.hypot(x, y) <= SIZE / 1.5 / 2


def scene(tone: np.ndarray = SKIN, frames: int = 300, sway: float = 0.0) -> np.ndarray:
    """A narrow face with hair in front of a wall that flickers, all inside of the ellipse."""
    t = np.arange(frames) / FPS
    pulse = 1 - 0.01 * np.array([0.33, 0.77, 0.53]) * np.sin(2 * np.pi * 1.2 * t)[:, None]
    lamp = 1 + 0.1 * np.sin(2 * np.pi * 2.1 * t)[:, None] * np.array([0.2, 0.6, 1.0])
    noise = np.random.default_rng(0).standard_normal((frames, SIZE, SIZE, 3))
    out = np.broadcast_to((WALL * lamp)[:, None, None], noise.shape).copy()
    face = np.abs(x) + sway < 8
    out[:, face] = (tone * pulse)[:, None]
    out[:, face & (y < -5)] = HAIR
    return out + noise


@pytest.mark.parametrize("tone", [SKIN, SKIN / 2, SKIN / 4, np.array([220.0, 180, 165])])
def test_hair_and_background_are_left_out_whatever_the_tone(tone):
    mask = skin_mask(scene(tone), ELLIPSE)
    truth = ELLIPSE & (np.abs(x) < 8) & (y >= -5)
    assert mask.shape == (SIZE, SIZE)
    hair = (np.abs(x) < 8) & (y < -5)
    assert mask[ELLIPSE & ~truth & ~hair].mean() < 0.01  # the wall
    assert mask[ELLIPSE & hair].mean() < (0.01 if tone[0] > 100 else 1.01)  # as dark as the skin
    assert mask[truth].mean() > 0.95
    assert not mask[~ELLIPSE].any()


def test_the_trace_is_that_of_the_skin():
    frames = scene()
    trace = skin_trace(frames, skin=True)
    truth = frames[:, ELLIPSE & (np.abs(x) < 8) & (y >= -5)].mean(axis=1)
    np.testing.assert_allclose(trace, truth, rtol=2e-3)
    assert np.abs(skin_trace(frames) - truth).max() > 5


def test_without_colours_besides_the_skin_nothing_changes():
    frames = np.broadcast_to(SKIN, (30, SIZE, SIZE, 3))
    np.testing.assert_allclose(skin_trace(frames, skin=True), skin_trace(frames))


def test_a_flickering_wall_in_the_ellipse_no_longer_wins():
    frames = scene().astype(np.float32)
    rate = {
        skin: heart_rate_bpm(bandpass(classical("green", skin=skin)(frames, FPS), FPS), FPS)
        for skin in (True, False)
    }
    assert rate[True] == pytest.approx(72, abs=0.5)
    assert rate[False] == pytest.approx(126, abs=0.5)


def test_clips_are_masked_one_by_one():
    clips = np.stack([scene(), scene(SKIN / 2)])
    both = skin_trace(clips, skin=True)
    np.testing.assert_allclose(both[1], skin_trace(clips[1], skin=True))


def test_other_numbers_of_channels():
    two, four = scene()[..., :2], np.concatenate([scene(), scene()[..., :1]], axis=-1)
    for frames in (two, four):
        mask = skin_mask(frames, ELLIPSE)
        assert mask[ELLIPSE & (np.abs(x) > 9)].mean() < 0.02
        assert mask[ELLIPSE & (np.abs(x) < 8) & (y >= -5)].mean() > 0.95
    with pytest.raises(InputError, match="by colour in frames of 1 channel; leave"):
        skin_mask(scene()[..., :1], ELLIPSE)


def test_no_common_colour_is_an_error():
    rng = np.random.default_rng(0)
    patches = np.broadcast_to(rng.uniform(5, 250, (SIZE, SIZE, 3)), (30, SIZE, SIZE, 3))
    with pytest.raises(InputError, match=r"no common colour.*leave the skin mask out"):
        skin_mask(patches, ELLIPSE)
