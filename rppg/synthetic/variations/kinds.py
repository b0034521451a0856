"""Recordings without a pulse: a table from the name of a kind to what it makes of a subject.

Each function takes the domain's own subject, and leaves of it what it doesn't name: the head's
maps, the wall, the light, the camera. Rates of 0.7–3 Hz are those of a pulse.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.display import Bands
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.head import SIZE, map_positions, surface_normals
from rppg.synthetic.pulse_motion_light import at_rest, draw_motion
from rppg.synthetic.render import Additions
from rppg.synthetic.smooth_noise import smooth_noise, texture
from rppg.synthetic.subjects import Compression, SyntheticSubject
from rppg.synthetic.variations.generator import subject_generator
from rppg.synthetic.variations.screens import PULSE_HZ, on_screen

Array = NDArray[np.float64]

MAINS_HZ = (100.0, 120.0)
EXPOSURE_S = (0.004, 0.02)
READOUT_S_PER_FACE = (0.003, 0.010)
"""Time in which a rolling shutter reads the rows of one face side."""
STEPS_HZ = (1.5, 2.3)
KEYFRAMES_HZ = (0.75, 3.0)


def photograph(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a still photograph under light that flickers, with another strength on the wall."""
    rng = subject_generator(subject, "kind/photograph")
    series = at_rest(subject.series)
    wave = _log_uniform(rng, 0.003, 0.03) * _oscillation(rng, series.times_s, PULSE_HZ)
    wall = wave * _log_uniform(rng, 0.2, 2.0)
    flickering = replace(series, key=series.key * (1 + wave), second=series.second * (1 + wave))
    return replace(
        _bloodless(subject),
        series=flickering,
        additions=Additions(wall_gain=(1 + wall) / (1 + wave)),
    )


def dummy(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a dummy that bobs: a periodic nod and sway."""
    rng = subject_generator(subject, "kind/dummy")
    series = at_rest(subject.series)
    swing = _log_uniform(rng, 0.005, 0.03) * _oscillation(rng, series.times_s, PULSE_HZ)
    nod, rise, sway = rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.4), rng.uniform(-0.3, 0.3)
    bobbing = replace(series, pitch=nod * swing, y=rise * swing, x=sway * swing)
    return replace(_bloodless(subject), series=bobbing)


def wall(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw the wall alone, without a head."""
    bloodless = _bloodless(subject)
    head = replace(bloodless.head, alpha=np.zeros_like(subject.head.alpha))
    return replace(bloodless, head=head, series=at_rest(subject.series))


def mannequin(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw the subject with its motion and light, without blood."""
    return _bloodless(subject)


def mains(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a photograph under lamps on the mains, seen by a camera with a rolling shutter.

    The lamps flicker at 100 or 120 Hz with a small offset. Sampled at the frames' rate, that is a
    flicker of 0.7–3 Hz, which the exposure weakens, and whose phase runs down the picture.
    """
    rng = subject_generator(subject, "kind/mains")
    series, fps = at_rest(subject.series), subject.profile.fps
    # The nearer to a multiple of the frame rate, the smaller is the offset that is needed.
    multiples = {hz: fps * round(hz / fps) for hz in MAINS_HZ}
    nearest = min(abs(hz - multiple) for hz, multiple in multiples.items())
    near = [multiple for hz, multiple in multiples.items() if abs(hz - multiple) <= nearest]
    flicker_hz = float(rng.choice(near) + rng.choice([-1.0, 1.0]) * rng.uniform(*PULSE_HZ))
    exposures_s = rng.uniform(*EXPOSURE_S, 20)
    remaining = np.abs(np.sinc(flicker_hz * exposures_s))
    depth = _log_uniform(rng, 0.02, 0.2)
    amplitude = depth * remaining[np.argmax(remaining > 0.1)]
    # A sensor's clock is regular; what jitters in a domain with jitter are the timestamps.
    clock_s = np.arange(len(series.times_s)) / fps
    wander = 0.3 * smooth_noise(rng, clock_s, 0.15)  # the mains' own
    bands = Bands(
        amplitude=float(amplitude),
        phase=2 * np.pi * flicker_hz * clock_s + rng.uniform(0, 2 * np.pi) + wander,
        per_face=float(2 * np.pi * flicker_hz * rng.uniform(*READOUT_S_PER_FACE)),
    )
    return replace(_bloodless(subject), series=series, additions=Additions(bands=bands))


def screen(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a photograph on a screen whose refresh runs over it as bands; the room has other light.

    The wall around the screen is lit by the room.
    """
    rng = subject_generator(subject, "kind/screen")
    still = replace(_bloodless(subject), series=at_rest(subject.series))
    return on_screen(rng, still, PULSE_HZ)


def walking(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a dummy that walks: steps with a harmonic, sway at half their rate, and drift."""
    rng = subject_generator(subject, "kind/walking")
    series = at_rest(subject.series)
    times_s = series.times_s
    phase = 2 * np.pi * rng.uniform(*STEPS_HZ) * times_s + 0.8 * smooth_noise(rng, times_s, 0.15)
    harmonic, offset = rng.uniform(0.2, 0.6), rng.uniform(0, 2 * np.pi)
    steps = np.sin(phase) + harmonic * np.sin(2 * phase + offset)
    side = np.sin(phase / 2 + rng.uniform(0, 2 * np.pi))
    bounce, swing = _log_uniform(rng, 0.003, 0.015), _log_uniform(rng, 0.004, 0.02)
    moving = replace(
        series,
        x=0.03 * smooth_noise(rng, times_s, 0.15) + swing * side,
        y=0.02 * smooth_noise(rng, times_s, 0.15) + bounce * steps,
        pitch=0.02 * smooth_noise(rng, times_s, 0.3) + rng.uniform(0.3, 1.0) * bounce * steps,
        yaw=0.02 * smooth_noise(rng, times_s, 0.3) + rng.uniform(0.3, 1.0) * swing * side,
        roll=0.5 * swing * side,
    )
    return replace(_bloodless(subject), series=moving)


def turned(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw the back of a head, all hair, with the subject's motion and light."""
    rng = subject_generator(subject, "kind/turned")
    bloodless = _bloodless(subject)
    head = bloodless.head
    x, y = map_positions()
    colour = np.array([1.0, 0.8, 0.65]) * rng.uniform(0.03, 0.3)
    tone = np.exp(0.3 * texture(rng, SIZE, 1.0) + 0.2 * texture(rng, SIZE, 4.0))
    bulge = np.clip(1 - (x / 0.52) ** 2 - (y / 0.72) ** 2, 0.05, None)
    hair = replace(
        head,
        albedo=np.clip(colour[:, None, None] * tone, 0.01, 0.9),
        normal=surface_normals(0.45 * np.sqrt(bulge)),
        gloss=np.full_like(x, rng.uniform(0.0, 0.5)),
    )
    closed = np.zeros_like(bloodless.series.mouth)
    return replace(bloodless, head=hair, series=replace(bloodless.series, mouth=closed))


def keyframes(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a photograph in a compressed video whose keyframes come at 0.75–3 Hz.

    Its encoder was short of bits: keyframes are coarse, and the frames after them mend what they
    did. So the picture pulses at the keyframes' rate. Domains without a codec have crops only; then
    the crop is compressed.
    """
    rng = subject_generator(subject, "kind/keyframes")
    compression = Compression(
        "libx264",
        crf=int(rng.integers(16, 25)),
        keyframe_interval=round(subject.profile.fps / rng.uniform(*KEYFRAMES_HZ)),
        keyframe_quantiser=float(rng.uniform(2, 4)),
    )
    still = at_rest(subject.series)
    return replace(_bloodless(subject), series=still, compression=compression)


def other_motion(subject: SyntheticSubject) -> SyntheticSubject:
    """Draw a mannequin that moves as people of another domain do."""
    rng = subject_generator(subject, "kind/other-motion")
    series = subject.series
    others = [domain for domain in DOMAINS.values() if domain.name != subject.profile.domain.name]
    motions = others[rng.integers(len(others))].motions
    motion = motions[rng.integers(len(motions))]
    moved = draw_motion(rng, motion, series.times_s, rng.uniform(0.8, 2.6))
    return replace(_bloodless(subject), series=replace(at_rest(series), **moved))


KINDS: Mapping[str, Callable[[SyntheticSubject], SyntheticSubject]] = {
    "photograph": photograph,
    "dummy": dummy,
    "wall": wall,
    "mannequin": mannequin,
    "mains": mains,
    "screen": screen,
    "walking": walking,
    "turned": turned,
    "keyframes": keyframes,
    "other-motion": other_motion,
}
"""From a kind's name to a function that makes a subject's recording one without a pulse."""


def _bloodless(subject: SyntheticSubject) -> SyntheticSubject:
    """Return the subject without blood: nothing of its heart is left in the picture."""
    head = replace(subject.head, perfusion=np.zeros_like(subject.head.perfusion))
    series = replace(subject.series, pulse=np.zeros_like(subject.series.pulse))
    return replace(subject, head=head, series=series)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _oscillation(rng: np.random.Generator, times_s: Array, rates_hz: tuple[float, float]) -> Array:
    """Draw a nearly periodic series `(T,)` of amplitude 1, as periodic motion in the domains."""
    phase = 2 * np.pi * rng.uniform(*rates_hz) * times_s + rng.uniform(0, 2 * np.pi)
    return np.asarray(np.sin(phase + 0.6 * smooth_noise(rng, times_s, 0.15)))
