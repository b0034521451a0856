"""Other hearts for a domain's people: rates, amplitudes and rhythms."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.pulse import beat_times, bvp
from rppg.synthetic.pulse_motion_light import Rates
from rppg.synthetic.subjects import SyntheticSubject
from rppg.synthetic.variations.generator import subject_generator
from rppg.types import Pulse

Array = NDArray[np.float64]

SLOWEST_BPM = 25.0
RECOVERY_START_BPM = (145.0, 155.0)
RECOVERY_FALL_BPM = (30.0, 50.0)
IRREGULAR_SPREAD = (0.15, 0.25)
"""Standard deviation of the intervals between beats, relative to their mean."""
CLEARANCE_BPM = 15.0
"""Distance of a drawn rate from periodic motion and flicker, as in the domains. At the same rate
they couldn't be told from the pulse."""


def with_amplitude(subject: SyntheticSubject, amplitudes: tuple[float, float]) -> SyntheticSubject:
    """Draw another pulse amplitude; the waveform stays."""
    rng = subject_generator(subject, "amplitude")
    amplitude = float(np.exp(rng.uniform(*np.log(amplitudes))))
    pulse = subject.series.pulse * (amplitude / subject.rates.amplitude)
    return replace(
        subject,
        series=replace(subject.series, pulse=pulse),
        rates=replace(subject.rates, amplitude=amplitude),
    )


def with_heart(
    subject: SyntheticSubject, hr_bpm: tuple[float, float] | None, rhythm: str | None
) -> SyntheticSubject:
    """Draw another BVP, with the same amplitude.

    Args:
        hr_bpm: range of the mean rate, or of the rate at the start of a recovery. If None, a
            recovery starts at `RECOVERY_START_BPM`, and other rhythms keep the subject's rate.
        rhythm: `recovery`, `irregular`, or None for the usual variability.
    """
    rng = subject_generator(subject, f"heart/{rhythm}")
    rates, times_s = subject.rates, subject.series.times_s
    duration_s = float(times_s[-1])
    if rhythm == "recovery":
        start_bpm = rng.uniform(*(hr_bpm or RECOVERY_START_BPM))
        fall_bpm = rng.uniform(*RECOVERY_FALL_BPM)
        slowest_bpm, fastest_bpm = start_bpm - fall_bpm, start_bpm
        beats_s = recovery_beats(rng, duration_s, start_bpm, fall_bpm)
    else:
        mean_bpm = draw_rate(rng, hr_bpm, rates) if hr_bpm else rates.fastest_bpm
        slowest_bpm = fastest_bpm = mean_bpm
        if rhythm == "irregular":
            spread = rng.uniform(*IRREGULAR_SPREAD)
            beats_s = irregular_beats(rng, duration_s, mean_bpm, spread)
        else:
            drift_bpm = min(1.5, 0.02 * mean_bpm)
            beats_s = beat_times(
                rng, duration_s + 1, mean_bpm, drift_bpm=drift_bpm, slowest_bpm=SLOWEST_BPM
            )
    contact_s = subject.truth.times_s
    contact = bvp(rng, contact_s, beats_s)
    pulse = rates.amplitude * np.interp(times_s, contact_s, contact)
    return replace(
        subject,
        series=replace(subject.series, pulse=pulse),
        rates=replace(rates, slowest_bpm=slowest_bpm, fastest_bpm=fastest_bpm),
        truth=Pulse(contact_s, contact),
    )


def draw_rate(rng: np.random.Generator, hr_bpm: tuple[float, float], rates: Rates) -> float:
    """Draw a heart rate away from periodic motion and flicker, if the range leaves room."""
    candidates = rng.uniform(*hr_bpm, 50)
    disturbances_bpm = 60 * np.array(rates.disturbances_hz)
    if not len(disturbances_bpm):
        return float(candidates[0])
    distance_bpm = np.abs(candidates[:, None] - disturbances_bpm).min(1)
    clear = candidates[distance_bpm > CLEARANCE_BPM]
    return float(clear[0] if len(clear) else candidates[distance_bpm.argmax()])


def recovery_beats(
    rng: np.random.Generator, duration_s: float, start_bpm: float, fall_bpm: float
) -> Array:
    """Draw the times of beats, in seconds, whose rate falls by `fall_bpm` within the recording.

    The fall is exponential, fast at first, with small random changes besides.
    """
    margin_s, step_s = 5.0, 0.02
    grid_s = np.arange(-margin_s, duration_s + margin_s, step_s)
    time_constant_s = duration_s * rng.uniform(0.3, 0.6)
    inside_s = np.clip(grid_s, 0, duration_s)
    share = np.expm1(-inside_s / time_constant_s) / np.expm1(-duration_s / time_constant_s)
    phase = rng.uniform() + np.cumsum((start_bpm - fall_bpm * share) / 60 * step_s)
    beats_s = np.interp(np.arange(np.ceil(phase[0]), phase[-1]), phase, grid_s)
    return np.asarray(beats_s + 0.01 * 60 / start_bpm * rng.standard_normal(len(beats_s)))


def irregular_beats(
    rng: np.random.Generator, duration_s: float, hr_bpm: float, spread: float
) -> Array:
    """Draw the times of beats, in seconds, whose intervals are independent of each other.

    Args:
        spread: standard deviation of the intervals, relative to their mean.
    """
    margin_s, mean_s = 5.0, 60 / hr_bpm
    count = int(2 * (duration_s + 2 * margin_s) / mean_s) + 10
    intervals_s = mean_s * np.clip(1 + spread * rng.standard_normal(count), 0.4, 1.6)
    beats_s = np.cumsum(intervals_s) - margin_s
    return np.asarray(beats_s[: np.searchsorted(beats_s, duration_s + margin_s) + 1])
