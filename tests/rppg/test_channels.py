"""Pictures of other than three channels, and of three that are one."""

import logging

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.estimators.fcus import untrained
from rppg.methods import METHODS
from rppg.models.fcus import ModelConfig
from rppg.predict import find_estimator, predict, predict_crops
from rppg.signals import resample_frames
from rppg.types import FaceCrops
from rppg.video import write_video
from rppg.video.resize import resample_box

NEAR_INFRARED = (0.33, 0.77, 0.53, 0.25)


def crops(signature: tuple[float, ...], bpm: float = 72.0) -> FaceCrops:
    """A head with a pulse before a wall without one, in light that wanders, at an uneven 30 Hz."""
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.uniform(0.03, 0.0366, 600))
    y, x = (np.mgrid[:36, :36] - 17.5) / 12
    head = (x / 0.42) ** 2 + (y / 0.56) ** 2 < 4
    p = np.array(signature)
    pulse = 1 - 0.01 * head[..., None] * p * np.sin(2 * np.pi * bpm / 60 * t)[:, None, None, None]
    light = 1 + 0.01 * np.sin(2 * np.pi * 1.9 * t + 1)[:, None, None, None]
    level = np.where(head[..., None], 150.0, 90.0) * pulse * light
    noisy = level + rng.standard_normal(level.shape)
    frames = np.rint(noisy).astype(np.uint8)
    return FaceCrops(frames, t - t[0], np.ones(len(t), np.bool_))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_frames_of_any_channels_are_resampled(channels):
    given = crops(NEAR_INFRARED[:channels])
    grid = np.arange(500) / 30
    even = resample_frames(given.frames, given.times_s, grid)
    assert even.shape == (500, 36, 36, channels)
    for c in range(channels):
        alone = resample_frames(given.frames[..., c : c + 1], given.times_s, grid)
        np.testing.assert_array_equal(even[..., c : c + 1], alone)
    rgba = given.frames[0]
    assert resample_box(rgba, (3.2, 4.1, 20, 20), 8).shape == (8, 8, channels)


@pytest.mark.parametrize("signature", [NEAR_INFRARED[1::2], NEAR_INFRARED[:3], NEAR_INFRARED])
def test_a_network_of_as_many_channels_finds_the_pulse(signature):
    net = untrained(ModelConfig(signatures=(signature,)))
    found = predict_crops(crops(signature), net)
    assert found.hr_bpm == pytest.approx(72, abs=1) and found.reliable


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("method", ["fcus", *METHODS])
def test_a_method_for_other_channels_says_so_in_a_line(method, channels):
    with pytest.raises(InputError, match=r"channels|give \(\.\.\., T, 3\)") as caught:
        predict_crops(crops(NEAR_INFRARED[:channels]), find_estimator(method))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["fcus", "green", "pos", "chrom", "lgi", "omit", "pbv", "ica"])
def test_three_equal_channels_are_told_and_not_trusted(method, caplog):
    one = crops((0.7,))
    grey = FaceCrops(np.repeat(one.frames, 3, axis=-1), one.times_s, one.valid)
    with caplog.at_level(logging.WARNING):
        found = predict_crops(grey, find_estimator(method))
    assert caplog.text.count("the frames have no colour") == 1
    assert found.quality == 0 and not found.reliable and not found.rates.quality.any()
    assert found.hrv is None


def test_a_grey_video_is_told(tmp_path, caplog):
    frames = np.random.default_rng(0).integers(80, 120, (100, 32, 32, 1), dtype=np.uint8)
    write_video(tmp_path / "grey.mkv", frames.repeat(3, axis=-1), fps=15, codec="ffv1")
    with caplog.at_level(logging.WARNING):
        found = predict(tmp_path / "grey.mkv", full_frame=True)
    assert "the frames have no colour" in caplog.text and found.quality == 0
    caplog.clear()
    found = predict_crops(crops(NEAR_INFRARED[:3]), find_estimator("pos"))
    assert "no colour" not in caplog.text and found.reliable


def test_the_skin_mask_is_for_classical_methods():
    with pytest.raises(InputError, match="fcus finds the skin itself"):
        find_estimator("fcus", skin=True)
    found = predict_crops(crops(NEAR_INFRARED[:3]), find_estimator("pos", skin=True))
    assert found.hr_bpm == pytest.approx(72, abs=0.5)
