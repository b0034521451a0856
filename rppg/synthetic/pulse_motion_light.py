"""The time series of one recording: pulse, head motion, light. All `(T,)`, at its timestamps."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from rppg.synthetic.domains import Domain, Light, Motion
from rppg.synthetic.pulse import beat_times, bvp
from rppg.synthetic.smooth_noise import smooth_noise, step_noise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TimeSeries:
    """Pulse, head motion and light of one recording over time.

    Attributes:
        times_s: timestamps of the frames.
        pulse: amplitude of the blood volume in AC/DC units at the camera's strongest channel.
        x, y: position of the face's centre, in face sides.
        yaw, pitch, roll: rotation of the head, in radians.
        mouth: opening of the mouth, in face sides.
        key, second: brightness of the two lamps, 1 on average.
    """

    times_s: Array
    pulse: Array
    x: Array
    y: Array
    yaw: Array
    pitch: Array
    roll: Array
    mouth: Array
    key: Array
    second: Array


@dataclass(frozen=True)
class Rates:
    """The rates that a recording's time series were drawn with.

    Attributes:
        slowest_bpm, fastest_bpm: range of the mean heart rate; equal unless it has a trend.
        amplitude: pulse amplitude in AC/DC units per unit of BVP.
        disturbances_hz: rates of the head's periodic motion and of the light's flicker, if any.
    """

    slowest_bpm: float
    fastest_bpm: float
    amplitude: float
    disturbances_hz: tuple[float, ...]


def draw_time_series(
    rng: np.random.Generator,
    domain: Domain,
    motion: Motion,
    light: Light,
    duration_s: float,
    times_s: Array | None = None,
) -> tuple[TimeSeries, Rates, Array, Array]:
    """Draw the time series of one recording.

    Args:
        times_s: times of the frames; by default those of the domain's clock.

    Returns:
        The time series, their rates, and the contact sensor's timestamps (60 Hz) and BVP.
    """
    if times_s is None:
        times_s = _draw_times(rng, domain, duration_s)
    hr_bpm = rng.uniform(*(motion.hr_bpm or domain.hr_bpm))
    beats_s = beat_times(rng, duration_s + 1, hr_bpm, drift_bpm=1.5)
    contact_s = np.arange(0, times_s[-1] + 1 / 60, 1 / 60)
    contact = bvp(rng, contact_s, beats_s)
    amplitude = np.exp(rng.uniform(*np.log(domain.pulse)))
    pulse = amplitude * np.interp(times_s, contact_s, contact)

    # A periodic disturbance at the pulse's rate couldn't be distinguished from the pulse.
    rate_hz = hr_bpm / 60
    other_rates = np.array([f for f in np.arange(0.8, 2.6, 0.05) if abs(f - rate_hz) > 0.25])
    nod_hz = float(rng.choice(other_rates))
    moved = draw_motion(rng, motion, times_s, nod_hz)
    flicker_hz = float(rng.choice(other_rates))
    lit = draw_light(rng, light, times_s, flicker_hz)
    periodic = ((nod_hz, motion.periodic), (flicker_hz, light.flicker))
    rates = Rates(
        slowest_bpm=hr_bpm,
        fastest_bpm=hr_bpm,
        amplitude=float(amplitude),
        disturbances_hz=tuple(hz for hz, amplitudes in periodic if amplitudes[1] > 0),
    )
    return TimeSeries(times_s=times_s, pulse=pulse, **moved, **lit), rates, contact_s, contact


def _draw_times(rng: np.random.Generator, domain: Domain, duration_s: float) -> Array:
    count = int(duration_s * domain.fps) + 1
    times_s = np.arange(count) / domain.fps
    if domain.jitter_s:
        shift = np.clip(domain.jitter_s * rng.standard_normal(count), -0.4 / domain.fps, None)
        times_s = times_s + np.minimum(shift, 0.4 / domain.fps)
        times_s -= times_s[0]
    return times_s


def draw_motion(
    rng: np.random.Generator, motion: Motion, times_s: Array, periodic_hz: float
) -> dict[str, Array]:
    """Draw the head's motion, the fields `x` to `mouth` of `TimeSeries`."""

    def wander(slow: float, quick: float, quick_hz: float) -> Array:
        activity = np.clip(1 + smooth_noise(rng, times_s, 0.1), 0, None)  # motion in bursts
        return slow * smooth_noise(rng, times_s, 0.15) + quick * activity * smooth_noise(
            rng, times_s, quick_hz
        )

    x, y = wander(motion.sway, motion.jerk, 2.0), wander(0.6 * motion.sway, motion.jerk, 2.0)
    yaw, pitch = wander(motion.turn, motion.shake, 3.0), wander(motion.turn, motion.shake, 3.0)
    roll = wander(0.5 * motion.turn, 0.3 * motion.shake, 2.0)
    talking = np.clip(smooth_noise(rng, times_s, 0.25), 0, None)
    mouth = motion.talk * talking * np.abs(smooth_noise(rng, times_s, 4.0))
    if motion.periodic[1] > 0:
        swing = rng.uniform(*motion.periodic) * np.sin(
            2 * np.pi * periodic_hz * times_s + 0.6 * smooth_noise(rng, times_s, 0.15)
        )
        y, pitch, x = y + 0.3 * swing, pitch + swing, x + 0.2 * swing
    return {"x": x, "y": y, "yaw": yaw, "pitch": pitch, "roll": roll, "mouth": mouth}


def draw_light(
    rng: np.random.Generator, light: Light, times_s: Array, flicker_hz: float
) -> dict[str, Array]:
    """Draw the lamps' brightness, the fields `key` and `second` of `TimeSeries`."""
    key = 1 + light.drift * smooth_noise(rng, times_s, 0.1)
    second = np.ones_like(times_s)
    if light.cuts:
        second = second + light.cuts * (
            step_noise(rng, times_s, 2.0, 0.2) + 0.5 * smooth_noise(rng, times_s, 2.0)
        )
    if light.flicker[1] > 0:
        phase = 2 * np.pi * flicker_hz * times_s + 0.6 * smooth_noise(rng, times_s, 0.15)
        second = second + rng.uniform(*light.flicker) / light.second * np.sin(phase)
    return {"key": key, "second": second}


def at_rest(series: TimeSeries) -> TimeSeries:
    """Return the series of something at rest, without a pulse, in the same light."""
    rest = np.zeros_like(series.times_s)
    return replace(series, pulse=rest, x=rest, y=rest, yaw=rest, pitch=rest, roll=rest, mouth=rest)


def tracked_position(position: Array, fps: float) -> Array:
    """Return a `position` `(T,)` as a face tracker that smooths over about a second reports it."""
    return np.asarray(gaussian_filter1d(position, 0.5 * fps, mode="nearest"))
