"""A subject's scene shown on a screen, filmed by the domain's camera."""

from dataclasses import replace

import numpy as np

from rppg.synthetic.display import Bands, Screen
from rppg.synthetic.head import draw_wall
from rppg.synthetic.smooth_noise import smooth_noise
from rppg.synthetic.subjects import SyntheticSubject
from rppg.synthetic.variations.generator import subject_generator

PULSE_HZ = (0.7, 3.0)
"""Rates of what is periodic but no pulse."""
BANDS_PER_FACE = (0.3, 1.5)
CLEARANCE_HZ = 0.25
"""Distance of the bands' rate from the heart rate, as in the domains."""


def replay(subject: SyntheticSubject) -> SyntheticSubject:
    """Play the living subject's video on a screen, which adds its bands and gamma to the pulse."""
    rng = subject_generator(subject, "replay")
    slowest, fastest = subject.rates.slowest_bpm / 60, subject.rates.fastest_bpm / 60
    rates_hz = np.arange(PULSE_HZ[0], PULSE_HZ[1], 0.01)
    clear = (rates_hz < slowest - CLEARANCE_HZ) | (rates_hz > fastest + CLEARANCE_HZ)
    beat_hz = float(rng.choice(rates_hz[clear]))
    return on_screen(rng, subject, (beat_hz, beat_hz))


def on_screen(
    rng: np.random.Generator, subject: SyntheticSubject, beat_hz: tuple[float, float]
) -> SyntheticSubject:
    """Show a subject's scene on a screen in a room with its own wall and light.

    Args:
        beat_hz: range of the rate at which the refresh's bands run over the screen.
    """
    series = subject.series
    times_s = series.times_s
    phase = 2 * np.pi * rng.uniform(*beat_hz) * times_s + rng.uniform(0, 2 * np.pi)
    bands = Bands(
        amplitude=float(np.exp(rng.uniform(np.log(0.003), np.log(0.03)))),
        phase=phase + 0.3 * smooth_noise(rng, times_s, 0.15),
        per_face=float(rng.choice([-1, 1]) * 2 * np.pi * rng.uniform(*BANDS_PER_FACE)),
    )
    # The screen is large enough for a head that moves, and its edge is in the crop's border.
    red, green, blue = rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
    screen = Screen(
        half_width=float(rng.uniform(0.52, 0.66) + np.std(series.x)),
        half_height=float(rng.uniform(0.58, 0.70) + np.std(series.y)),
        brightness=(float(red), float(green), float(blue)),
        gamma=float(rng.uniform(0.85, 1.3)),
        bands=bands,
        wall=draw_wall(rng),
        room=1 + 0.005 * smooth_noise(rng, times_s, 0.1),
    )
    return replace(subject, additions=replace(subject.additions, screen=screen))
