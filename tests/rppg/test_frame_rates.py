"""Low frame rates: heart rates above half of them fold over."""

import logging

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.predict import predict_crops
from rppg.signals.frame_rate import LEAST_FPS, lowest_folded_bpm, may_be_folded
from rppg.signals.reasons import FOLDED
from rppg.types import FaceCrops


def measure(fps: float, bpm: float):
    """The prediction by the mean colour of noisy skin."""
    times = np.arange(round(15 * fps)) / fps
    wave = np.sin(2 * np.pi * bpm / 60 * times)[:, None, None, None]
    noise = np.random.default_rng(0).normal(0, 3, (len(times), 8, 8, 3))
    frames = np.array([150, 120, 90]) + wave * np.array([2, 4, 3]) + noise
    crops = FaceCrops(np.rint(frames).astype(np.uint8), times, np.ones(len(times), np.bool_))
    return predict_crops(crops, lambda part, _: part.mean((1, 2, 3)).astype(np.float64))


@pytest.mark.parametrize(("fps", "bpm"), [(4, 130), (5, 160), (6, 195)])
def test_a_folded_rate_is_not_reliable(caplog, fps, bpm):
    with caplog.at_level(logging.WARNING):
        found = measure(fps, bpm)
    assert found.hr_bpm < 30 * fps
    assert not found.reliable and found.reason == FOLDED
    assert set(found.reasons) == {FOLDED}
    lines = [record.getMessage() for record in caplog.records]
    assert any(f"{fps} frames a second" in line and "folded over" in line for line in lines)


def test_a_rate_that_no_other_folds_to_is_kept():
    found = measure(6, 80)
    assert found.hr_bpm == pytest.approx(80, abs=1) and found.reason != FOLDED


def test_from_twice_the_band_on_nothing_folds(caplog):
    with caplog.at_level(logging.WARNING):
        found = measure(8, 180)
    assert found.hr_bpm == pytest.approx(180, abs=1) and found.reason != FOLDED
    assert "frames a second" not in caplog.text
    assert np.isinf(lowest_folded_bpm(6.7))


@pytest.mark.parametrize("fps", [2, 3, LEAST_FPS - 0.1])
def test_without_a_band_there_is_no_rate(fps):
    with pytest.raises(InputError, match="too slow for a pulse; record 20 a second"):
        measure(fps, 75)


def test_a_slow_stretch_of_a_fast_video_is_judged_alone():
    times = np.concatenate([np.arange(300) / 30, 10 + np.arange(50) / 5])
    folded = may_be_folded(
        np.array([150.0, 150.0]), times, np.array([0.0, 10.0]), np.array([10.0, 20.0])
    )
    np.testing.assert_array_equal(folded, [False, True])
