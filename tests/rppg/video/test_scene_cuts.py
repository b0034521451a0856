"""Hard cuts: found at their frame with the face's change, and nothing else is taken for one."""

import numpy as np
import pytest

from rppg.predict import predict
from rppg.signals.reasons import CUT
from rppg.types import Frame
from rppg.video.scene_cuts import SceneCuts, picture, picture_distance

FPS = 20
BPM = (72.0, 96.0)


def texture(seed, size=64):
    """Return a room, `(size, size, 3)`."""
    blocks = np.random.default_rng(seed).uniform(40, 200, (8, 8, 3))
    return np.kron(blocks, np.ones((size // 8, size // 8, 1)))


def film(images, seed=0):
    """Return frames with a sensor's noise."""
    rng = np.random.default_rng(seed)
    return [np.clip(x + rng.standard_normal(x.shape), 0, 255).astype(np.uint8) for x in images]


def cuts_of(images, same_face=False, fps=FPS):
    """Return the times of the cuts; all frames must pass, in order."""
    frames = [Frame(index / fps, image) for index, image in enumerate(film(images))]
    cuts = SceneCuts("video", lambda before, after: same_face)
    passed = [item for frame in frames for item in cuts.add(frame)] + cuts.finish()
    assert [frame for _, frame in passed] == frames
    steps = np.diff([0, *(scene for scene, _ in passed)])
    assert set(steps) <= {0, 1}
    return [frames[index].time_s for index in np.flatnonzero(steps)]


@pytest.mark.parametrize("frame", [23, 40, 41, 43])
@pytest.mark.parametrize("fps", [5, 20])
def test_a_cut_is_found_at_its_frame(frame, fps, caplog):
    images = [texture(0)] * frame + [texture(1)] * 40
    assert cuts_of(images, fps=fps) == [frame / fps]
    assert f"1 cuts to another picture or person, at {frame / fps:.1f} s" in caplog.text
    assert cuts_of(images, same_face=True, fps=fps) == []


def test_what_is_no_cut():
    room, other = texture(0), texture(1)
    glitch = [room] * 40 + [other] + [room] * 40
    flash = [room] * 40 + [np.full_like(room, 255)] * 3 + [room] * 40
    brighter = [room] * 40 + [0.7 * room] * 40
    white_balance = [room] * 40 + [room * [1.1, 1.0, 0.85]] * 40
    dissolve = [(1 - share) * room + share * other for share in np.linspace(0, 1, 100)]
    pan = [np.roll(room, shift, axis=1) for shift in range(64)]
    flat = [np.full_like(room, 120)] * 80
    for images in (glitch, flash, brighter, white_balance, dissolve, pan, flat):
        assert cuts_of(images) == []


def test_gain_counts_little_and_another_picture_much():
    a, b = (picture(texture(seed).astype(np.uint8)) for seed in (0, 1))
    assert picture_distance(a, 0.5 * a + 20) < 0.02
    assert picture_distance(a, b) > 0.5


@pytest.fixture(scope="module")
def people():
    """Two skins of 12 s each, in front of other rooms, with other rates."""
    times = np.arange(12 * FPS) / FPS
    frames = []
    for seed, bpm in enumerate(BPM):
        wave = np.sin(2 * np.pi * bpm / 60 * times)
        skin = texture(seed + 2)[16:48, 16:48] / 4 + [130, 90, 70]
        images = np.tile(texture(seed), (len(times), 1, 1, 1))
        pulse = 1 - 0.02 * wave[:, None] * np.array([0.33, 0.77, 0.53])
        images[:, 16:48, 16:48] = skin * pulse[:, None, None]
        frames.append(np.stack(film(images, seed)))
    return frames


@pytest.mark.parametrize("where", [{"box": (21, 21, 22, 22)}, {"full_frame": True}])
def test_pieces_of_two_people_are_not_joined(people, where):
    found = predict(np.concatenate(people), method="pos", fps=FPS, **where)
    assert not found.reliable and found.reason == CUT and found.quality == 0
    assert "at 12.0 s" in found.warnings[-1]
    before, after = found.rates.end_s <= 12.01, found.rates.start_s >= 11.99
    assert np.all(before | after) and before.any() and after.any()  # no window has both
    np.testing.assert_allclose(found.rates.hr_bpm[before], BPM[0], atol=2)
    np.testing.assert_allclose(found.rates.hr_bpm[after], BPM[1], atol=2)


def test_a_title_before_a_person_changes_nothing(people):
    film = np.concatenate([people[0][: 2 * FPS], people[1]])
    found = predict(film, method="pos", fps=FPS, box=(21, 21, 22, 22))
    alone = predict(people[1], method="pos", fps=FPS, box=(21, 21, 22, 22))
    assert found.hr_bpm == pytest.approx(alone.hr_bpm, abs=0.5)
    assert found.reason == alone.reason
    assert found.rates.start_s[0] == pytest.approx(2.0)  # in the video's time
