"""One subject of a synthetic domain: drawn from its number, rendered as face crops."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.domains import Camera, Codec, Domain, Light, Motion
from rppg.synthetic.head import Head, draw_head
from rppg.synthetic.render import Setting, View, render
from rppg.synthetic.time_courses import Courses, draw_courses, followed
from rppg.types import CROP_TO_FACE, FaceCrops, Pulse
from rppg.video.encode import roundtrip
from rppg.video.resize import cut_bytes


@dataclass(frozen=True)
class Casting:
    """Who is filmed how: the first things drawn for a recording."""

    domain: Domain
    number: int
    skin_type: int
    camera: Camera
    motion: Motion
    light: Light

    @property
    def metadata(self) -> dict[str, str]:
        """What a report may break its results down by."""
        known = {
            "skin_type": str(self.skin_type),
            "motion": self.motion.name,
            "camera": str(self.domain.cameras.index(self.camera)),
        }
        return known | ({"light": self.light.name} if len(self.domain.lights) > 1 else {})


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
        light, camera = self.casting.light, self.casting.camera
        return Setting(self.head, self.courses, light, camera, self.spill)


def cast_subject(domain: Domain, number: int) -> Casting:
    """Skin, camera, motion and light of subject `number`."""
    return _cast(_generator(domain, number), domain, number)


def draw_subject(domain: Domain, number: int, duration_s: float = 20.0) -> Subject:
    """Draw subject `number` of a domain; the same number gives the same recording, always."""
    rng = _generator(domain, number)
    casting = _cast(rng, domain, number)
    head = draw_head(rng, casting.skin_type)
    courses, contact_s, contact = draw_courses(
        rng, domain, casting.motion, casting.light, duration_s
    )
    return Subject(
        casting=casting,
        head=head,
        courses=courses,
        spill=rng.uniform(*casting.light.spill),
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
        light=domain.lights[rng.integers(len(domain.lights))],
    )


def render_crops(subject: Subject, *, pulse_gain: float = 1.0) -> FaceCrops:
    """Face crops as a tracker would cut them; `pulse_gain=0` leaves the pulse out."""
    domain, courses = subject.casting.domain, subject.courses
    x, y = followed(courses.x, domain.fps), followed(courses.y, domain.fps)
    size = domain.crop_size
    if domain.codec:
        frames = _cut_crops(_film(subject, domain.codec, pulse_gain), domain.codec, size, x, y)
    else:
        view = View(x=x, y=y, width=size, height=size, pixels_per_face=size / CROP_TO_FACE)
        frames = render(subject.setting, view, seed=subject.noise_seed, pulse_gain=pulse_gain)
    return FaceCrops(frames, courses.times_s, np.ones(len(frames), dtype=np.bool_))


def _film(subject: Subject, codec: Codec, pulse_gain: float) -> NDArray[np.uint8]:
    """What a camera at rest sees, `(T, side, side, 3)`, as it comes back from the codec."""
    rest = np.zeros_like(subject.courses.times_s)
    view = View(rest, rest, codec.side, codec.side, codec.face)
    frames = render(
        subject.setting,
        view,
        seed=subject.noise_seed,
        pulse_gain=pulse_gain,
        noise_gain=codec.face * CROP_TO_FACE / subject.casting.domain.crop_size,
        chunk=8,
    )
    fps = subject.casting.domain.fps
    return roundtrip(frames, fps, codec.name, crf=codec.crf, qscale=codec.qscale)


def _cut_crops(
    film: NDArray[np.uint8],
    codec: Codec,
    size: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Crops around a face whose centre is at `x`, `y`, in face sides from the picture's centre."""
    side = codec.face * CROP_TO_FACE
    left = codec.side / 2 + codec.face * x - side / 2
    top = codec.side / 2 + codec.face * y - side / 2
    crops = [
        cut_bytes(picture, (float(a), float(b), side, side), size)
        for picture, a, b in zip(film, left, top, strict=True)
    ]
    return np.stack(crops)
