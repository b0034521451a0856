"""The track follows a head without trembling, and says when it has lost it."""

import logging

import numpy as np
import pytest

from rppg.types import Frame
from rppg.video.blazeface import Face
from rppg.video.resize import resample_box
from rppg.video.track import EVERY_S, LOST_S, FaceTrack, face_box

FPS = 15.0


def follow(images, fps=FPS):
    """All boxes at the end: times, centre and side `(T, 3)`, validity, and the track."""
    track = FaceTrack()
    times = []
    for n, rgb in enumerate(images):
        times.append(n / fps)
        track.add_frame(Frame(n / fps, rgb))
    track.finish()
    known = [track.box_at(t) for t in times]
    boxes = np.array([(np.nan,) * 4 if k is None else k[0] for k in known])
    valid = np.array([k is not None and k[1] for k in known])
    centres = np.column_stack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2]])
    return np.array(times), centres, valid, track


def pulse_band_power(signal, fps=FPS):
    n = np.arange(len(signal))
    smooth = np.polynomial.Polynomial.fit(n, signal, 5)(n)
    power = np.abs(np.fft.rfft((signal - smooth) * np.hanning(len(n)))) ** 2
    f = np.fft.rfftfreq(len(n), 1 / fps)
    return power[(f > 0.6) & (f < 3.3)].sum()


@pytest.mark.parametrize("amplitude", [0.0, 25.0])
def test_boxes_do_not_tremble(portrait, film, amplitude):
    """Against joining the sightings by straight lines, in the band of the pulse."""

    def sway(t):
        return 40 + amplitude * np.sin(2 * np.pi * 0.1 * t), 20 + 0.1 * amplitude * t

    times, boxes, valid, track = follow(film(portrait, 12, motion=sway, noise=6))
    assert valid.all()
    for axis in range(3):
        sightings = [box[axis] for box in track._boxes]
        raw = np.interp(times, track._times, sightings)
        assert pulse_band_power(boxes[:, axis]) < 0.03 * pulse_band_power(raw)


def test_follows_a_head_that_moves(portrait, film):
    times, boxes, _, _ = follow(film(portrait, 8, motion=lambda t: (10 + 8 * t, 30 - 2 * t)))
    # The window moves right over the image, so the face moves left in it; without delay, also
    # at the ends.
    error = boxes[:, 0] + 8 * times
    assert np.abs(error - error.mean()).max() < 3
    assert np.abs(boxes[:, 1] - 2 * times - (boxes[:, 1] - 2 * times).mean()).max() < 3


def test_lost_for_a_while(portrait, film):
    frames = list(film(portrait, 9))
    blank = np.full_like(frames[0], 120)
    for n in range(45, 90):
        frames[n] = blank
    times, boxes, valid, _ = follow(frames)
    gone = (times > 3 + EVERY_S) & (times < 6 - EVERY_S)
    back = (times < 3 - EVERY_S) | (times > 6 + LOST_S)  # lost, it is looked for once a second
    assert not valid[gone].any() and valid[back].all()
    held = boxes[gone]
    np.testing.assert_allclose(held, np.broadcast_to(held[0], held.shape))
    assert np.abs(held[0] - boxes[back][0]).max() < 4


def test_a_blink_of_the_detector_is_bridged(portrait, film):
    frames = list(film(portrait, 5, motion=lambda t: (10 + 8 * t, 20)))
    for n in range(30, 38):
        frames[n] = np.zeros_like(frames[n])
    times, boxes, valid, _ = follow(frames)
    assert valid.all()
    error = boxes[:, 0] + 8 * times
    assert np.abs(error - error.mean()).max() < 3


def test_before_the_face_comes(portrait, film):
    frames = [np.full((240, 240, 3), 120, np.uint8)] * 45 + list(film(portrait, 3))
    times, _, valid, track = follow(frames)
    assert track.box_at(0.0) is None and not valid[times < 1.9].any()
    assert valid[times > 3 + LOST_S].all()


def test_one_wild_sighting_is_ignored():
    track = FaceTrack()
    for n in range(20):
        box = np.array([100.0, 100.0, 50.0]) + (80.0 if n == 10 else 0.0)
        track._times.append(0.2 * n)
        track._boxes.append(box)
        track._despiked.append(box)
        for k in range(max(0, n - 2), n + 1):
            track._despiked[k] = track._without_spike(k)
    track.finish()
    box, valid = track.box_at(2.0)
    assert valid and box == pytest.approx((75, 75, 50, 50))


def test_what_is_forgotten_changes_no_later_box():
    """With gaps, spikes and a face that is lost, and no more is kept than is needed."""
    rng = np.random.default_rng(0)
    times = np.cumsum(np.where(rng.random(400) < 0.05, 2.5, 0.2))
    keypoints = np.array([[0.0, 0], [20, 0], [10, 10], [10, 20], [0, 5], [20, 5]])
    whole, short = FaceTrack(), FaceTrack()
    for time_s in times:
        x, y = rng.normal(100, 60 if rng.random() < 0.1 else 3, 2)
        face = Face((float(x), float(y), 50.0, 50.0), 0.9, keypoints)
        for track in (whole, short):
            track._add(time_s, face)
        for late_s in (3.0, 1.7, 0.4):
            if time_s > late_s:
                assert short.box_at(time_s - late_s) == whole.box_at(time_s - late_s)
        short.forget_before(time_s - 3.0)
        assert len(short.detections[0]) < 60
    assert len(whole.detections[0]) == len(times)


def test_the_larger_of_two_is_kept(portrait, film, caplog):
    """Also when the other one stays and the first goes out of sight for a moment."""
    small = np.rint(resample_box(portrait[:, ::-1], (80, 40, 170, 170), 150)).astype(np.uint8)
    frames = []
    for shown in film(portrait, 6):
        frame = np.zeros((240, 480, 3), dtype=np.uint8)
        frame[:, :240] = shown
        frame[60:210, 320:470] = small
        frames.append(frame)
    for n in range(40, 50):
        frames[n][:, :240] = 0
    with caplog.at_level(logging.WARNING):
        _, boxes, valid, _ = follow(frames)
    assert valid.all()
    assert boxes[:, 0].max() < 240
    assert "2 faces" in caplog.text


def test_settles_within_the_lookahead(portrait, film):
    """Boxes given out early are the final ones."""
    frames = list(film(portrait, 6, motion=lambda t: (20 + 10 * np.sin(t), 20), noise=3))
    early, track, waiting = [], FaceTrack(), []
    for n, rgb in enumerate(frames):
        track.add_frame(Frame(n / FPS, rgb))
        waiting.append(n / FPS)
        while track.is_final(waiting[0]):
            early.append((waiting[0], track.box_at(waiting.pop(0))))
        assert len(waiting) < 3.5 * FPS
    track.finish()
    assert len(early) > 30
    for time_s, known in early:
        assert track.box_at(time_s) == known


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_face_box_reaches_the_forehead_in_any_position(portrait, film, turns):
    image = np.ascontiguousarray(np.rot90(next(film(portrait, 1)), turns))
    frames = [image] * 30
    _, _, valid, track = follow(frames)
    assert valid.all()
    eyes, mouth = track._last_face.keypoints[:2].mean(axis=0), track._last_face.keypoints[3]
    up = (eyes - mouth) / np.hypot(*(eyes - mouth))
    x, y, side, _ = face_box(track._last_face)
    centre = np.array([x, y]) + side / 2
    detected = track._last_face.box
    assert side == pytest.approx(1.2 * np.sqrt(detected[2] * detected[3]))
    assert 0.03 < (eyes - centre) @ up / side < 0.3  # as much forehead above as chin below
    assert -0.4 < (mouth - centre) @ up / side < -0.2
