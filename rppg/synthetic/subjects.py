"""One subject of a synthetic domain: drawn from its number, rendered as face crops."""

import hashlib
from dataclasses import dataclass

import numpy as np

from rppg.records import CROP_TO_FACE, FaceCrops, Pulse
from rppg.synthetic.courses import Courses, draw_courses, followed
from rppg.synthetic.domains import Camera, Domain, Motion
from rppg.synthetic.head import Head, draw_head
from rppg.synthetic.render import Setting, View, render


@dataclass(frozen=True)
class Casting:
    """Who is filmed how: the first things drawn for a recording."""

    domain: Domain
    number: int
    skin_type: int
    camera: Camera
    motion: Motion

    @property
    def metadata(self) -> dict[str, str]:
        """What a report may break its results down by."""
        return {
            "skin_type": str(self.skin_type),
            "motion": self.motion.name,
            "camera": str(self.domain.cameras.index(self.camera)),
        }


@dataclass(frozen=True)
class Subject:
    """One subject's recording before it is rendered: all that was drawn for it."""

    casting: Casting
    head: Head
    courses: Courses
    spill: float
    truth: Pulse
    noise_seed: int

    @property
    def setting(self) -> Setting:
        """What the renderer needs to know of it."""
        light, camera = self.casting.domain.light, self.casting.camera
        return Setting(self.head, self.courses, light, camera, self.spill)


def cast_subject(domain: Domain, number: int) -> Casting:
    """Skin, camera and motion of subject `number`."""
    return _cast(_generator(domain, number), domain, number)


def draw_subject(domain: Domain, number: int, duration_s: float = 20.0) -> Subject:
    """Draw subject `number` of a domain; the same number gives the same recording, always."""
    rng = _generator(domain, number)
    casting = _cast(rng, domain, number)
    head = draw_head(rng, casting.skin_type)
    courses, contact_s, contact = draw_courses(rng, domain, casting.motion, duration_s)
    return Subject(
        casting=casting,
        head=head,
        courses=courses,
        spill=rng.uniform(*domain.light.spill),
        truth=Pulse(contact_s, contact),
        noise_seed=int(rng.integers(2**31)),
    )


def _generator(domain: Domain, number: int) -> np.random.Generator:
    entropy = hashlib.sha256(f"{domain.key}/{number}".encode()).digest()
    return np.random.default_rng(np.frombuffer(entropy, dtype=np.uint32))


def _cast(rng: np.random.Generator, domain: Domain, number: int) -> Casting:
    return Casting(
        domain=domain,
        number=number,
        skin_type=int(rng.choice(domain.skin_types)),
        camera=domain.cameras[rng.integers(len(domain.cameras))],
        motion=domain.motions[rng.integers(len(domain.motions))],
    )


def render_crops(subject: Subject, *, pulse_gain: float = 1.0) -> FaceCrops:
    """Face crops as a tracker would cut them; `pulse_gain=0` leaves the pulse out."""
    domain, courses = subject.casting.domain, subject.courses
    size = domain.crop_size
    view = View(
        x=followed(courses.x, domain.fps),
        y=followed(courses.y, domain.fps),
        width=size,
        height=size,
        pixels_per_face=size / CROP_TO_FACE,
    )
    frames = render(subject.setting, view, seed=subject.noise_seed, pulse_gain=pulse_gain)
    return FaceCrops(frames, courses.times_s, np.ones(len(frames), dtype=np.bool_))
