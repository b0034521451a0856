"""What a camera does over one recording: its clock, exposure, white balance, contrast and shake."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from rppg.synthetic.display import Bands
from rppg.synthetic.filmed.conditions import Conditions
from rppg.synthetic.filmed.domains import Filming
from rppg.synthetic.smooth_noise import smooth_noise, step_noise

Array = NDArray[np.float64]

CLEARANCE_HZ = 0.25
"""Distance of what swings from the heart rate, as of all disturbances of the domains."""
SWING_HZ = np.arange(0.3, 2.6, 0.05)
STEP_INTERVAL_S, STEP_RISE_S = 4.0, 0.3
BANDS_PER_FACE = (0.3, 1.5)


@dataclass(frozen=True)
class Film:
    """What a camera does over one recording, at the frames' times.

    Attributes:
        conditions: its camera and codec.
        gain: `(T,)` brightness, beside the automatic exposure that follows the light.
        white_balance: `(T, 3)` gains of R, G, B.
        contrast: `(T,)` strength of the tone mapping.
        shake_x, shake_y: `(T,)` shift of the whole scene in the frame, in face sides.
    """

    conditions: Conditions
    gain: Array
    white_balance: Array
    contrast: Array
    shake_x: Array
    shake_y: Array


def draw_times(rng: np.random.Generator, filming: Filming, fps: float, duration_s: float) -> Array:
    """Draw the frames' times `(T,)` in seconds: regular, or with jitter and missing frames."""
    times_s = np.arange(int(duration_s * fps) + 1) / fps
    limit_s = 0.4 / fps
    jitter_s = np.clip(filming.jitter_s * rng.standard_normal(len(times_s)), -limit_s, limit_s)
    kept = rng.random(len(times_s)) >= rng.uniform(*filming.dropped)
    kept[[0, -1]] = True
    times_s = (times_s + jitter_s)[kept]
    return np.asarray(times_s - times_s[0])


def draw_film(
    rng: np.random.Generator,
    filming: Filming,
    conditions: Conditions,
    times_s: Array,
    hr_bpm: float,
) -> Film:
    """Draw a camera's doings over a recording."""

    def steps(deviation: float) -> Array:
        return deviation * step_noise(rng, times_s, STEP_INTERVAL_S, STEP_RISE_S)

    swing_hz = _other_rate(rng, hr_bpm)
    phase = 2 * np.pi * swing_hz * times_s + 0.6 * smooth_noise(rng, times_s, 0.15)
    activity = np.clip(1 + 0.5 * smooth_noise(rng, times_s, 0.2), 0, None)
    pumping = rng.uniform(*filming.pumping) * activity * np.sin(phase)
    red, blue = (steps(rng.uniform(*filming.white_balance_steps)) for _ in range(2))
    contrast = rng.uniform(*filming.contrast)
    shake = rng.uniform(*filming.shake)
    moved = [
        shake * (smooth_noise(rng, times_s, 0.4) + 0.3 * smooth_noise(rng, times_s, 5.0))
        for _ in range(2)
    ]
    return Film(
        conditions=conditions,
        gain=np.exp(steps(rng.uniform(*filming.exposure_steps)) + pumping),
        white_balance=np.exp(np.stack([red, np.zeros_like(red), blue], 1)),
        contrast=contrast * (1 + 0.2 * np.clip(smooth_noise(rng, times_s, 0.1), -2, 2)),
        shake_x=moved[0],
        shake_y=moved[1],
    )


def draw_bands(
    rng: np.random.Generator, amplitudes: tuple[float, float], times_s: Array, hr_bpm: float
) -> Bands | None:
    """Draw the bands of a weak lamp's mains on a rolling shutter, which beat in the pulse band."""
    if amplitudes[1] == 0:
        return None
    phase = 2 * np.pi * _other_rate(rng, hr_bpm) * times_s + rng.uniform(0, 2 * np.pi)
    return Bands(
        amplitude=float(rng.uniform(*amplitudes)),
        phase=phase + 0.3 * smooth_noise(rng, times_s, 0.15),
        per_face=float(2 * np.pi * rng.uniform(*BANDS_PER_FACE)),
    )


def resample_film(film: Film, times_s: Array, new_times_s: Array) -> Film:
    """Return a film whose frames have other times."""

    def at(values: Array) -> Array:
        return np.interp(new_times_s, times_s, values)

    return replace(
        film,
        gain=at(film.gain),
        white_balance=np.stack([at(channel) for channel in film.white_balance.T], 1),
        contrast=at(film.contrast),
        shake_x=at(film.shake_x),
        shake_y=at(film.shake_y),
    )


def tracked(position: Array, times_s: Array) -> Array:
    """Return a position `(T,)` as a face tracker that smooths over about a second reports it."""
    fps = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return np.asarray(gaussian_filter1d(position, 0.5 * fps, mode="nearest"))


def _other_rate(rng: np.random.Generator, hr_bpm: float) -> float:
    """Draw a rate in Hz away from the heart's."""
    return float(rng.choice(SWING_HZ[np.abs(SWING_HZ - hr_bpm / 60) > CLEARANCE_HZ]))
