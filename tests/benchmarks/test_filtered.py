"""Classical methods whose wave is filtered by verification."""

import numpy as np

from benchmarks.trials.filtered import Filtered
from rppg.estimators.fcus import untrained

FPS, TIME, PULSE_HZ, LAMP_HZ = 30.0, 600, 1.2, 1.9


def face(frames, fps):
    """Return the mean colour's change of the face's middle: pulse and lamp alike."""
    green = frames[:, 16:32, 16:32, 1].mean((1, 2)).astype(np.float64)
    return 1 - green / green.mean()


def amplitude(wave, hz):
    return abs(np.mean(wave * np.exp(2j * np.pi * hz * np.arange(TIME) / FPS)))


def test_the_lamp_is_filtered_from_the_wave_of_any_method():
    rng = np.random.default_rng(0)
    times_s = np.arange(TIME) / FPS
    frames = np.full((TIME, 48, 48, 3), [120.0, 130.0, 140.0])
    pulse = np.sin(2 * np.pi * PULSE_HZ * times_s)[:, None, None, None]
    frames[:, 8:, 10:38] = np.array([180, 130, 100]) * (1 - 0.01 * pulse * [0.3, 0.8, 0.5])
    frames *= 1 + 0.01 * np.sin(2 * np.pi * LAMP_HZ * times_s)[:, None, None, None]
    frames = (frames + rng.normal(0, 1, frames.shape)).astype(np.float32)
    raw = face(frames, FPS)
    filtered = Filtered(face, untrained())(frames, FPS)
    before, after = (amplitude(x, PULSE_HZ) / amplitude(x, LAMP_HZ) for x in (raw, filtered))
    assert after > 4 * before
