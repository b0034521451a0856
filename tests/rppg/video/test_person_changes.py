"""Another person is noticed without a cut; one person who goes and comes back is no other."""

import numpy as np
import pytest

from rppg.video import read_crops
from rppg.video.person_changes import OTHER_COLOUR, PersonChanges, colour_distance, look_of
from rppg.video.sources.in_memory import in_memory_video
from rppg.video.tracked_crop import Crop

FPS = 10
LIGHT, DARK = (200, 150, 130), (120, 80, 60)
WALL = (110, 120, 130)


def picture(skin, wall=WALL, lamp=(1, 1, 1)):
    """Return a crop of a face, `(48, 48, 3)`."""
    axis = (np.arange(48) + 0.5) / 24 - 1
    face = (axis**2 + axis[:, None] ** 2 < 0.45)[..., None]
    return np.rint(np.where(face, skin, wall) * np.array(lamp)).astype(np.uint8)


def crops_of(*parts, scene=0):
    """Return crops of parts `(seconds, picture)` in a row; without a picture the face is lost."""
    shown = [image for seconds, image in parts for _ in range(round(seconds * FPS))]
    return [
        Crop(
            index / FPS,
            picture(LIGHT) if image is None else image,
            (0, 0, 48, 48),
            image is not None,
            is_key=False,
            repeats=False,
            scene=scene,
        )
        for index, image in enumerate(shown)
    ]


def changes_of(crops):
    """Return the times at which a scene begins; all crops must pass, in order."""
    people = PersonChanges("video")
    passed, most = [], 0
    for count, crop in enumerate(crops, start=1):
        passed += people.add(crop)
        most = max(most, count - len(passed))
    passed += people.finish()
    assert [crop._replace(scene=0) for crop in passed] == [c._replace(scene=0) for c in crops]
    assert most <= 16 * FPS  # however long the video
    steps = np.diff([crop.scene for crop in passed])
    assert set(steps) <= {0, 1}
    return [passed[index + 1].time_s for index in np.flatnonzero(steps)]


def test_another_comes_after_the_face_was_lost(caplog):
    first, other = picture(LIGHT), picture(DARK)
    assert changes_of(crops_of((5, first), (2, None), (6, other))) == [7.0]
    assert "another person's face after one was lost, from 7.0 s on" in caplog.text
    back = crops_of((5, first), (2, None), (6, other), (30, None), (6, first))
    assert changes_of(back) == [7.0, 43.0]
    # the comer is lost again before he could be compared, and a cut beside the change is one, too
    short = crops_of((5, first), (2, None), (2.2, other), (1.5, None), (6, other))
    assert changes_of(short) == [7.0]
    cut = [
        c._replace(scene=int(c.time_s >= 20)) for c in crops_of((5, first), (2, None), (30, other))
    ]
    assert changes_of(cut) == [7.0, 20.0]


@pytest.mark.parametrize("lamp", [(0.6, 0.6, 0.6), (1.2, 1.2, 1.2), (1.15, 1, 0.8), (0.7, 0.8, 1)])
def test_one_comes_back_in_other_light(lamp):
    parts = (5, picture(LIGHT)), (2, None), (6, picture(LIGHT, lamp=lamp))
    assert changes_of(crops_of(*parts)) == []
    elsewhere = (5, picture(LIGHT)), (2, None), (6, picture(LIGHT, wall=(60, 90, 50)))
    assert changes_of(crops_of(*elsewhere)) == []


def test_only_after_a_loss_and_only_what_was_seen_for_long_enough():
    first, other = picture(LIGHT), picture(DARK)
    assert changes_of(crops_of((5, first), (0.5, None), (6, other))) == []  # lost for a moment
    assert changes_of(crops_of((5, first), (2, None), (2, other))) == []
    assert changes_of(crops_of((0.5, first), (2, None), (6, other))) == []
    passing = (5, first), (2, None), (2, other), (2, None), (8, first)
    assert changes_of(crops_of(*passing)) == []
    glimpses = [part for _ in range(60) for part in ((1.5, other), (2, None))]
    assert changes_of(crops_of((5, first), (2, None), *glimpses)) == []


def test_colour_is_compared_apart_from_the_lamp():
    looks = [
        look_of(picture(*args).astype(float))
        for args in ((LIGHT,), (DARK,), (LIGHT, WALL, (1.2, 1, 0.7)))
    ]
    assert colour_distance(looks[:1], looks[1:2]) > 2 * OTHER_COLOUR
    assert colour_distance(looks[:1], looks[2:]) < 0.02
    # the share of one picture that is covered doesn't count
    assert colour_distance(looks[:1] * 2 + looks[1:2], looks[:1]) < 0.02


@pytest.mark.slow
def test_one_leaves_and_another_comes_in_a_video(portrait):
    image = portrait[20:260, 40:280]
    wall = np.broadcast_to(np.array(WALL, np.uint8), (240, 480, 3))
    times_s = np.arange(17 * FPS) / FPS
    lefts = np.interp(times_s, [5, 9], [0, 720])  # the camera pans from one to the other

    def cuts_s(other):
        strip = np.concatenate([image, wall, other], axis=1)
        frames = np.stack([strip[:, round(left) : round(left) + 240] for left in lefts])
        return read_crops(in_memory_video(frames, times_s)).cuts_s

    darker = np.rint(image * [0.7, 0.52, 0.4]).astype(np.uint8)
    darker[:, :40], darker[:, -40:] = image[:, :40], image[:, -40:]  # in the same light
    (change_s,) = cuts_s(darker)
    assert 6 < change_s < 10
    assert cuts_s(np.rint(image * 0.8).astype(np.uint8)) == ()
