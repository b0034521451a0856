"""The blood volume pulse (BVP): beats with variability, and a wave with a dicrotic notch."""

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.smooth_noise import smooth_noise

Array = NDArray[np.float64]


def beat_times(
    rng: np.random.Generator,
    duration_s: float,
    hr_bpm: float,
    *,
    drift_bpm: float,
    slowest_bpm: float = 35.0,
) -> Array:
    """Draw the times of the beats, in seconds, from before 0 to after `duration_s`.

    The rate drifts by `drift_bpm` (standard deviation) over tens of seconds, varies with the breath
    (respiratory sinus arrhythmia) by 1–3 %, and jitters by 1 % from beat to beat.
    """
    margin_s = 5.0
    grid_s = np.arange(-margin_s, duration_s + margin_s, 0.02)
    breath_hz, breath_phase = rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi)
    rate_bpm = (
        hr_bpm
        + drift_bpm * smooth_noise(rng, grid_s, 0.05)
        + hr_bpm * rng.uniform(0.01, 0.03) * np.sin(2 * np.pi * breath_hz * grid_s + breath_phase)
    )
    phase = rng.uniform() + np.cumsum(np.clip(rate_bpm, slowest_bpm, 220) / 60 * 0.02)
    beats = np.interp(np.arange(np.ceil(phase[0]), phase[-1]), phase, grid_s)
    jitter_s = 0.01 * rng.standard_normal(len(beats)) * 60 / hr_bpm
    return np.asarray(beats + jitter_s)


def bvp(rng: np.random.Generator, times_s: Array, beats_s: Array) -> Array:
    """Draw the BVP `(T,)` at `times_s`: zero mean, about 1 from peak to peak, systole is up.

    A beat is the sum of a systolic and a dicrotic Gaussian over the phase of the beat, the usual
    two-wave model of the finger's PPG. Their proportions vary between people.
    """
    number = np.arange(len(beats_s), dtype=np.float64)
    phase = np.interp(times_s, beats_s, number)
    systole_phase, notch_phase = rng.uniform(0.22, 0.30), rng.uniform(0.55, 0.65)
    systole_width, notch_width = rng.uniform(0.12, 0.15), rng.uniform(0.13, 0.16)
    notch_height = rng.uniform(0.15, 0.35)
    wave = np.zeros_like(times_s)
    for beat in (-1.0, 0.0, 1.0):
        position = phase % 1.0 + beat
        wave += np.exp(-0.5 * ((position - systole_phase) / systole_width) ** 2)
        wave += notch_height * np.exp(-0.5 * ((position - notch_phase) / notch_width) ** 2)
    wave *= 1 + 0.1 * smooth_noise(rng, times_s, 0.3)
    return np.asarray(wave - wave.mean())
