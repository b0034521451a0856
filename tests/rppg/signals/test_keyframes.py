"""The rhythm of keyframes: found where a wave is locked to it, and nowhere else."""

import numpy as np
import pytest

from rppg.signals import bandpass, rate_series
from rppg.signals.keyframes import has_rhythm, is_keyframe_rate

FPS = 30.0
TIMES = np.arange(900) / FPS
EVERY_S = 20 / 30
"""Keyframes every 20 frames, a rhythm of 90 bpm."""


def found(wave: np.ndarray, keyframes_s: np.ndarray) -> np.ndarray:
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(wave))
    clean = bandpass(wave + noise, FPS)
    return is_keyframe_rate(rate_series(clean, FPS), clean, FPS, keyframes_s)


def pulse(bpm: float, depth: float = 0.0, period_s: float = 9.0) -> np.ndarray:
    """A pulse whose rate swings by `depth` with the breath or slower."""
    rate_hz = bpm / 60 * (1 + depth * np.sin(2 * np.pi * TIMES / period_s))
    return np.sin(2 * np.pi * np.cumsum(rate_hz) / FPS)


@pytest.mark.parametrize("every_s", [EVERY_S, 1.0, 2.0])
def test_jumps_at_keyframes_are_theirs(every_s):
    keyframes_s = np.arange(0.2, 30, every_s)
    since_s = (TIMES - 0.2) % every_s
    assert found(np.exp(-since_s / 0.15), keyframes_s).all()


def test_a_scene_cut_between_keyframes_changes_nothing():
    keyframes_s = np.concatenate([np.arange(0.0, 14, EVERY_S), np.arange(14.2, 30, EVERY_S)])
    since_s = TIMES - keyframes_s[np.searchsorted(keyframes_s, TIMES, side="right") - 1]
    assert np.mean(found(np.exp(-since_s / 0.15), keyframes_s)) > 0.7  # not across the cut


@pytest.mark.parametrize(
    "wave", [pulse(90.7, 0.03), pulse(90, 0.02, 30.0), pulse(91.5), pulse(94), pulse(72)]
)
def test_a_pulse_near_their_rhythm_drifts_from_it(wave):
    assert not found(wave, np.arange(0.2, 30, EVERY_S)).any()


def test_without_a_rhythm_there_is_nothing_to_follow():
    rng = np.random.default_rng(1)
    irregular = np.cumsum(rng.uniform(0.3, 1.0, 45))
    for keyframes_s in (irregular, np.zeros(0), np.arange(0, 30, 8.0)):
        assert not has_rhythm(keyframes_s)
        assert not found(pulse(90), keyframes_s).any()
