"""What else with a pulse is in the picture: a bare shoulder, a hand, a second face.

All of it reaches into the crop's border, which methods take for background.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.head import (
    SIZE,
    Head,
    Surface,
    draw_head,
    ellipse,
    map_positions,
    surface_normals,
)
from rppg.synthetic.pulse import beat_times, bvp
from rppg.synthetic.pulse_motion_light import at_rest
from rppg.synthetic.render import Body
from rppg.synthetic.smooth_noise import smooth_noise, texture
from rppg.synthetic.subjects import SyntheticSubject
from rppg.synthetic.variations.generator import subject_generator

Array = NDArray[np.float64]
Ellipse = tuple[float, float, float, float]
"""Centre x, y and half axes x, y, in face sides; the centre for a body on the right."""

SHOULDER: tuple[Ellipse, ...] = ((0.15, -0.90, 1.30, 0.36), (0.80, -0.35, 0.24, 0.60))
"""A raised upper arm above the head, and the shoulder on one side of it."""
HAND: tuple[Ellipse, ...] = (
    (0.42, 0.14, 0.17, 0.17),
    (0.68, 0.45, 0.15, 0.42),
    (0.32, -0.06, 0.035, 0.13),
    (0.39, -0.09, 0.035, 0.14),
    (0.46, -0.08, 0.035, 0.13),
    (0.53, -0.04, 0.035, 0.11),
)
"""A palm on the cheek, the forearm, and four fingers."""
DELAY_S = (0.0, 0.06)
"""Range of the pulse's delay behind the face's."""
OTHER_BPM = (45.0, 150.0)
OTHER_DISTANCE_BPM = 20.0
"""Distance of the other person's mean heart rate; both wander by a few bpm."""


def shoulder(subject: SyntheticSubject) -> SyntheticSubject:
    """Put bare skin of the same person above the head and beside it, behind the head."""
    rng = subject_generator(subject, "beside/shoulder")
    series = subject.series
    x = 0.4 * series.x + 0.004 * smooth_noise(rng, series.times_s, 0.3)
    y = 0.4 * series.y + 0.006 * smooth_noise(rng, series.times_s, 0.3)
    perfusion = rng.uniform(0.6, 1.0)
    surface = _skin(rng, subject.head, _placed(rng, SHOULDER), perfusion)
    pose = replace(at_rest(series), x=x, y=y, pulse=_delayed_pulse(rng, subject))
    return _with_body(subject, Body(surface, pose, in_front=False))


def hand(subject: SyntheticSubject) -> SyntheticSubject:
    """Put a hand of the same person on one cheek. It moves with the head, and a little more."""
    rng = subject_generator(subject, "beside/hand")
    series = subject.series
    x, y = (
        position + 0.003 * smooth_noise(rng, series.times_s, 0.4)
        for position in (series.x, series.y)
    )
    perfusion = rng.uniform(0.8, 1.3)
    surface = _skin(rng, subject.head, _placed(rng, HAND), perfusion)
    pose = replace(at_rest(series), x=x, y=y, roll=series.roll, pulse=_delayed_pulse(rng, subject))
    return _with_body(subject, Body(surface, pose, in_front=True))


def second_face(subject: SyntheticSubject) -> SyntheticSubject:
    """Put another person behind the first, at one side, with a heart rate of its own."""
    rng = subject_generator(subject, "beside/second-face")
    domain, series = subject.profile.domain, subject.series
    head = draw_head(rng, int(rng.choice(domain.skin_types)))
    slowest, fastest = subject.rates.slowest_bpm, subject.rates.fastest_bpm
    rates_bpm = np.arange(OTHER_BPM[0], OTHER_BPM[1], 0.5)
    outside = (rates_bpm < slowest - OTHER_DISTANCE_BPM) | (
        rates_bpm > fastest + OTHER_DISTANCE_BPM
    )
    hr_bpm = float(rng.choice(rates_bpm[outside]))
    contact_s = subject.truth.times_s
    beats_s = beat_times(rng, float(series.times_s[-1]) + 1, hr_bpm, drift_bpm=1.5)
    amplitude = float(np.exp(rng.uniform(*np.log(domain.pulse))))
    side, scale = rng.choice([-1.0, 1.0]), rng.uniform(0.75, 0.95)

    def wander(deviation: float) -> Array:
        return deviation * smooth_noise(rng, series.times_s, 0.2)

    pose = replace(
        at_rest(series),
        pulse=amplitude * np.interp(series.times_s, contact_s, bvp(rng, contact_s, beats_s)),
        x=side * rng.uniform(0.70, 0.82) + wander(0.01),
        y=rng.uniform(-0.25, 0.0) + wander(0.006),
        yaw=wander(0.02),
        pitch=wander(0.02),
        roll=wander(0.01),
        second=series.second * rng.uniform(subject.spill, 1.0),  # the lamp is nearer the first
    )
    return _with_body(subject, Body(head.surface, pose, in_front=False, scale=float(scale)))


BESIDE_DRAWS: Mapping[str, Callable[[SyntheticSubject], SyntheticSubject]] = {
    "shoulder": shoulder,
    "hand": hand,
    "second-face": second_face,
}


def _with_body(subject: SyntheticSubject, body: Body) -> SyntheticSubject:
    additions = replace(subject.additions, bodies=(*subject.additions.bodies, body))
    return replace(subject, additions=additions)


def _delayed_pulse(rng: np.random.Generator, subject: SyntheticSubject) -> Array:
    times_s = subject.series.times_s - rng.uniform(*DELAY_S)
    truth = subject.truth
    return np.asarray(subject.rates.amplitude * np.interp(times_s, truth.times_s, truth.bvp))


def _placed(rng: np.random.Generator, ellipses: tuple[Ellipse, ...]) -> list[Ellipse]:
    """Return the ellipses on a random side, a little larger or smaller, and moved."""
    side, size = rng.choice([-1.0, 1.0]), rng.uniform(0.92, 1.08)
    x, y = rng.uniform(-0.02, 0.02, 2)
    return [(side * cx + x, cy + y, ax * size, ay * size) for cx, cy, ax, ay in ellipses]


def _skin(
    rng: np.random.Generator, head: Head, ellipses: list[Ellipse], perfusion: float
) -> Surface:
    """Draw bare skin of the head's person: the union of ellipses, each rounded."""
    x, y = map_positions()
    alpha, height = np.zeros_like(x), np.zeros_like(x)
    for cx, cy, ax, ay in ellipses:
        alpha = np.maximum(alpha, ellipse(x, y, cx, cy, ax, ay, 0.02))
        bulge = np.clip(1 - ((x - cx) / ax) ** 2 - ((y - cy) / ay) ** 2, 0.05, None)
        height = np.maximum(height, 0.6 * min(ax, ay) * np.sqrt(bulge))
    bare = (head.perfusion > 0.6) & (head.alpha > 0.99)
    colour = head.albedo[:, bare].mean(1) * rng.uniform(0.9, 1.1)
    tone = 1 + 0.05 * texture(rng, SIZE, 4)
    return Surface(
        alpha=alpha,
        albedo=np.clip(colour[:, None, None] * tone, 0.01, 0.95),
        perfusion=perfusion * np.clip(1 + 0.12 * texture(rng, SIZE, 8), 0.2, None),
        normal=surface_normals(height),
        gloss=np.full_like(x, rng.uniform(0.5, 1.5)),
    )
