"""Clocks that jump, and times in other units: nothing is computed where there are no frames."""

import logging

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.estimators.streaming import SPLIT_S
from rppg.predict import predict, predict_crops
from rppg.signals import uniform_grid
from rppg.signals.stretches import pooled_rate
from rppg.types import FaceCrops
from rppg.video import read_crops
from rppg.video.sources.in_memory import in_memory_video

FPS = 20
TIMES = np.arange(30 * FPS) / FPS


def pulsing(bpm: float = 72.0, times: np.ndarray = TIMES) -> np.ndarray:
    """`(T, 4, 4, 3)`: frames that pulse without a break, whatever their times say."""
    wave = np.sin(2 * np.pi * bpm / 60 * times)
    skin = np.array([150, 120, 90]) + wave[:, None] * np.array([12, 20, 14])
    frames = np.broadcast_to(np.rint(skin)[:, None, None], (len(times), 4, 4, 3))
    return np.ascontiguousarray(frames, dtype=np.uint8)


def measure(times: np.ndarray):
    """The prediction by the mean colour, and the seconds of video that were computed."""
    computed = []

    def mean(part, fps):
        computed.append(len(part) / fps)
        return part.mean((1, 2, 3)).astype(np.float64)

    crops = FaceCrops(pulsing(), times, np.ones(len(times), np.bool_))
    return predict_crops(crops, mean), sum(computed)


@pytest.mark.parametrize("jump_s", [3600.0, 2**33 / 90_000])  # the second is MPEG-TS's wrap
def test_a_jump_of_the_clock_is_not_computed(jump_s):
    times = TIMES + jump_s * (TIMES >= 13)
    found, computed_s = measure(times)
    assert computed_s == pytest.approx(30, abs=0.2)
    assert found.hr_bpm == pytest.approx(72, abs=0.3)
    np.testing.assert_allclose(found.rates.hr_bpm, 72, atol=0.5)
    frames_in = [
        np.sum((times >= start) & (times <= end))
        for start, end in zip(found.rates.start_s, found.rates.end_s, strict=True)
    ]
    assert len(frames_in) == 3 + 7 and min(frames_in) >= 199
    assert found.times_s[-1] == pytest.approx(times[-1], abs=0.1)
    assert len(found.bvp) == len(found.times_s) < 31 * 30
    assert np.all(np.diff(found.times_s) > 0)


def test_stretches_of_less_than_five_seconds_are_left_out():
    found, computed_s = measure(TIMES + 100.0 * (TIMES >= 2) + 100.0 * (TIMES >= 26))
    assert computed_s == pytest.approx(24, abs=0.2)
    assert found.frames == len(TIMES) and found.times_s[0] == 102  # as in the video
    assert found.hr_bpm == pytest.approx(72, abs=0.5)
    with pytest.raises(InputError, match=r"9 gaps of more than 5 s .* 3\.0 s without one"):
        measure(TIMES + 100.0 * np.floor(TIMES / 3))


def test_a_short_gap_splits_nothing():
    found, _ = measure(TIMES + (SPLIT_S - 0.1) * (TIMES >= 15))
    np.testing.assert_allclose(np.diff(found.times_s), 1 / 30)


def test_a_pooled_rate_needs_no_common_phase():
    rng = np.random.default_rng(0)
    t = np.arange(180) / 30
    waves = [np.sin(2 * np.pi * 1.1 * t + phase) for phase in rng.uniform(0, 2 * np.pi, 8)]
    rate_bpm, features = pooled_rate(waves, 30.0)
    assert rate_bpm == pytest.approx(66, abs=1) and features.shape == (4,)


def test_gaps_are_one_line(caplog):
    times = TIMES + 2.0 * np.floor(TIMES) + (TIMES >= 20)
    with caplog.at_level(logging.WARNING):
        crops = read_crops(in_memory_video(pulsing(), times), size=4, full_frame=True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "no frames from 58.0 s to 61.0 s" in line and "29 gaps" in line
    assert np.sum(~crops.valid) == 2 * 29


@pytest.mark.parametrize(
    ("unit", "scale"), [("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)]
)
def test_times_in_other_units_are_asked_about(unit, scale):
    with pytest.raises(InputError, match=f"in seconds\\? If they are {unit}, divide"):
        predict(pulsing(), TIMES * scale, full_frame=True)


def test_frame_numbers_are_asked_about():
    with pytest.raises(InputError, match=r"a frame every 1\.0 s.*are the times in seconds\?"):
        predict(pulsing(), np.arange(len(TIMES)), full_frame=True)


def test_dates_have_a_unit():
    dates = np.datetime64("2026-03-01T12:00") + (1e9 * TIMES).astype("timedelta64[ns]")
    np.testing.assert_allclose(in_memory_video(pulsing(), dates).times_s, TIMES, atol=1e-8)
    dates[7] = np.datetime64("NaT")
    with pytest.raises(InputError, match="must be finite"):
        in_memory_video(pulsing(), dates)


def test_no_grid_of_months():
    with pytest.raises(InputError, match="are they in seconds"):
        uniform_grid(TIMES * 1e6, 30.0)
