"""Recordings of the synthetic domains, drawn from seeds and kept in a cache on disk."""

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.records import CROP_TO_FACE, FaceCrops, Pulse
from rppg.synthetic.courses import Courses, draw_courses, followed
from rppg.synthetic.domains import Camera, Domain, Motion
from rppg.synthetic.head import Head, draw_head
from rppg.synthetic.render import View, render


@dataclass(frozen=True)
class Subject:
    """One subject's recording before it is rendered: all that was drawn for it."""

    domain: Domain
    number: int
    head: Head
    courses: Courses
    camera: Camera
    motion: Motion
    skin_type: int
    spill: float
    truth: Pulse
    noise_seed: int


def draw_subject(domain: Domain, number: int, duration_s: float = 20.0) -> Subject:
    """Draw subject `number` of a domain; the same number gives the same recording, always."""
    entropy = hashlib.sha256(f"{domain.key}/{number}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(entropy, dtype=np.uint32))
    skin_type = int(rng.choice(domain.skin_types))
    camera = domain.cameras[rng.integers(len(domain.cameras))]
    motion = domain.motions[rng.integers(len(domain.motions))]
    head = draw_head(rng, skin_type)
    courses, contact_s, contact = draw_courses(rng, domain, motion, duration_s)
    return Subject(
        domain=domain,
        number=number,
        head=head,
        courses=courses,
        camera=camera,
        motion=motion,
        skin_type=skin_type,
        spill=rng.uniform(*domain.light.spill),
        truth=Pulse(contact_s, contact),
        noise_seed=int(rng.integers(2**31)),
    )


def render_crops(subject: Subject, *, pulse_gain: float = 1.0) -> FaceCrops:
    """Face crops as a tracker would cut them; `pulse_gain=0` leaves the pulse out."""
    domain, courses = subject.domain, subject.courses
    size = domain.crop_size
    view = View(
        x=followed(courses.x, domain.fps),
        y=followed(courses.y, domain.fps),
        width=size,
        height=size,
        pixels_per_face=size / CROP_TO_FACE,
    )
    frames = render(
        subject.head,
        courses,
        domain.light,
        subject.camera,
        view,
        spill=subject.spill,
        seed=subject.noise_seed,
        pulse_gain=pulse_gain,
    )
    return FaceCrops(frames, courses.times_s, np.ones(len(frames), dtype=np.bool_))
