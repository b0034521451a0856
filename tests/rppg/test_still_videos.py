"""Videos of what doesn't move: keyframes that pulse, and frames that repeat."""

import logging

import numpy as np
import pytest

from rppg.predict import predict_crops
from rppg.signals.reasons import FROZEN, KEYFRAMES
from rppg.types import FaceCrops
from rppg.video import read_crops, write_video

TIMES = np.arange(360) / 30


def skin(wave: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 3, (len(wave), 16, 16, 3))
    frames = np.array([150, 120, 90]) + wave[:, None, None, None] * np.array([2, 4, 3]) + noise
    return np.rint(frames).clip(0, 255).astype(np.uint8)


def mean(part, _):
    return part.mean((1, 2, 3)).astype(np.float64)


def test_a_photograph_whose_keyframes_pulse_is_not_reliable():
    is_key = np.arange(360) % 20 == 0
    jumps = np.exp(-(np.arange(360) % 20) / 4)
    crops = FaceCrops(skin(jumps), TIMES, TIMES >= 0, is_key=is_key)
    found = predict_crops(crops, mean)
    assert found.hr_bpm == pytest.approx(90, abs=1)
    assert found.reason == KEYFRAMES and set(found.reasons) == {KEYFRAMES}
    assert found.quality == 0 and np.all(found.rates.quality == 0)
    pulse = FaceCrops(skin(np.sin(2 * np.pi * 1.2 * TIMES)), TIMES, TIMES >= 0, is_key=is_key)
    intra = FaceCrops(skin(jumps), TIMES, TIMES >= 0, is_key=np.ones(360, np.bool_))
    for other in (pulse, intra):
        found = predict_crops(other, mean)
        assert KEYFRAMES not in (found.reason, *found.reasons)


def test_keyframes_and_repeats_are_kept_beside_the_times(tmp_path):
    frames = skin(np.zeros(150)).repeat(4, 1).repeat(4, 2)
    frames[60:100] = frames[59]
    write_video(
        tmp_path / "a.mkv", frames, fps=30, crf=0, pixel_format="yuv444p", keyframe_interval=25
    )
    crops = read_crops(tmp_path / "a.mkv", size=8, full_frame=True)
    assert set(np.flatnonzero(crops.is_key)) >= set(range(0, 150, 25))
    assert np.sum(crops.is_key) < 10
    repeats = np.zeros(150, np.bool_)
    repeats[60:100] = True
    np.testing.assert_array_equal(crops.repeats, repeats)


def test_a_frozen_picture_has_no_pulse(caplog):
    frames = skin(np.sin(2 * np.pi * 1.2 * TIMES))
    repeats = np.arange(360) % 20 > 0
    crops = FaceCrops(frames, TIMES, TIMES >= 0, repeats=repeats)
    with caplog.at_level(logging.WARNING):
        found = predict_crops(crops, mean)
    assert found.reason == FROZEN and not found.reliable
    assert "95 % of the frames repeat" in caplog.text and "1.5 a second are new" in caplog.text


def test_frames_that_are_stored_twice_are_not_frozen():
    frames = skin(np.sin(2 * np.pi * 1.2 * TIMES))
    crops = FaceCrops(frames, TIMES, TIMES >= 0, repeats=np.arange(360) % 3 > 0)  # 10 a second
    assert predict_crops(crops, mean).reason != FROZEN
