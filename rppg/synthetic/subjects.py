"""Subjects of a synthetic domain: drawn from a number, rendered as face crops."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.domains import Camera, Codec, Domain, Light, Motion
from rppg.synthetic.filmed.conditions import Conditions, draw_conditions
from rppg.synthetic.filmed.crops import film_crops
from rppg.synthetic.filmed.domains import FilmedDomain
from rppg.synthetic.filmed.film import Film, draw_bands, draw_film, draw_times
from rppg.synthetic.head import Head, draw_head, dress
from rppg.synthetic.pulse_motion_light import Rates, TimeSeries, draw_time_series, tracked_position
from rppg.synthetic.render import NO_ADDITIONS, Additions, SceneSetup, Viewport, render
from rppg.types import CROP_TO_FACE, FaceCrops, Pulse
from rppg.video.encode import roundtrip
from rppg.video.encoding import Encoding
from rppg.video.resize import resample_box_uint8


@dataclass(frozen=True)
class Profile:
    """The properties of a subject that are drawn first, and that reports can group by."""

    domain: Domain
    number: int
    skin_type: int
    camera: Camera
    motion: Motion
    light: Light
    conditions: Conditions | None = None

    @property
    def fps(self) -> float:
        """The nominal frame rate in Hz."""
        return self.conditions.fps if self.conditions else self.domain.fps

    @property
    def metadata(self) -> dict[str, str]:
        """The properties as text, for a recording's metadata."""
        properties = {
            "skin_type": str(self.skin_type),
            "motion": self.motion.name,
            "camera": str(self.domain.cameras.index(self.camera)),
        }
        if len(self.domain.lights) > 1:
            properties["light"] = self.light.name
        return properties | (self.conditions.metadata if self.conditions else {})


@dataclass(frozen=True)
class Compression:
    """A video compression in place of the domain's own; of the crop if the domain has none.

    Attributes:
        codec: the encoder.
        crf, qscale, keyframe_interval, keyframe_quantiser: as in `rppg.video.encode`.
    """

    codec: str
    crf: int | None = None
    qscale: int | None = None
    keyframe_interval: int | None = None
    keyframe_quantiser: float | None = None


@dataclass(frozen=True)
class SyntheticSubject:
    """A subject of a synthetic domain: everything that was drawn for its recording.

    `film` is what the camera of a filmed domain does.
    """

    profile: Profile
    head: Head
    series: TimeSeries
    rates: Rates
    spill: float
    truth: Pulse
    noise_seed: int
    additions: Additions = NO_ADDITIONS
    compression: Compression | None = None
    film: Film | None = None

    @property
    def scene_setup(self) -> SceneSetup:
        """The part that the renderer needs."""
        light, camera = self.profile.light, self.profile.camera
        return SceneSetup(self.head, self.series, light, camera, self.spill, self.additions)


def draw_profile(domain: Domain, number: int) -> Profile:
    """Draw skin type, camera, motion and light of subject `number`."""
    return _draw_profile(_generator(domain, number), domain, number)


def draw_subject(domain: Domain, number: int, duration_s: float = 20.0) -> SyntheticSubject:
    """Draw subject `number` of a domain. The same number always gives the same recording."""
    rng = _generator(domain, number)
    profile = _draw_profile(rng, domain, number)
    head = draw_head(rng, profile.skin_type)
    filming = domain.filming if isinstance(domain, FilmedDomain) else None
    conditions, times_s = profile.conditions, None
    if filming and conditions:
        head = dress(rng, head)
        times_s = draw_times(rng, filming, conditions.fps, duration_s)
    series, rates, contact_s, contact = draw_time_series(
        rng, domain, profile.motion, profile.light, duration_s, times_s
    )
    film, additions = None, NO_ADDITIONS
    if filming and conditions:
        film = draw_film(rng, filming, conditions, series.times_s, rates.fastest_bpm)
        bands = draw_bands(rng, filming.bands, series.times_s, rates.fastest_bpm)
        additions = Additions(bands=bands)
    return SyntheticSubject(
        profile=profile,
        head=head,
        series=series,
        rates=rates,
        spill=rng.uniform(*profile.light.spill),
        truth=Pulse(contact_s, contact),
        noise_seed=int(rng.integers(2**31)),
        additions=additions,
        film=film,
    )


def _generator(domain: Domain, number: int) -> np.random.Generator:
    entropy = hashlib.sha256(f"{domain.key}/{number}".encode()).digest()
    return np.random.default_rng(np.frombuffer(entropy, dtype=np.uint32))


def _draw_profile(rng: np.random.Generator, domain: Domain, number: int) -> Profile:
    return Profile(
        domain=domain,
        number=number,
        skin_type=int(rng.choice(domain.skin_types)),
        camera=domain.cameras[rng.integers(len(domain.cameras))],
        motion=domain.motions[rng.integers(len(domain.motions))],
        light=domain.lights[rng.integers(len(domain.lights))],
        conditions=(
            draw_conditions(rng, domain.filming) if isinstance(domain, FilmedDomain) else None
        ),
    )


def render_crops(subject: SyntheticSubject, *, pulse_gain: float = 1.0) -> FaceCrops:
    """Render face crops as a tracker would cut them; `pulse_gain=0` leaves the pulse out."""
    domain, series = subject.profile.domain, subject.series
    if subject.film:
        return film_crops(
            subject.scene_setup,
            subject.film,
            size=domain.crop_size,
            seed=subject.noise_seed,
            pulse_gain=pulse_gain,
            encoding=_encoding(subject.compression) if subject.compression else None,
        )
    x, y = tracked_position(series.x, domain.fps), tracked_position(series.y, domain.fps)
    size = domain.crop_size
    if domain.codec:
        video = _render_compressed(subject, domain.codec, pulse_gain)
        frames = _cut_crops(video, domain.codec, size, x, y)
    else:
        viewport = Viewport(x=x, y=y, width=size, height=size, pixels_per_face=size / CROP_TO_FACE)
        frames = render(
            subject.scene_setup, viewport, seed=subject.noise_seed, pulse_gain=pulse_gain
        )
        if subject.compression:
            frames = _compress(frames, domain.fps, subject.compression)
    return FaceCrops(frames, series.times_s, np.ones(len(frames), dtype=np.bool_))


def _render_compressed(
    subject: SyntheticSubject, codec: Codec, pulse_gain: float
) -> NDArray[np.uint8]:
    """Render the frames `(T, side, side, 3)` of a camera at rest, compressed by the codec."""
    rest = np.zeros_like(subject.series.times_s)
    viewport = Viewport(rest, rest, codec.side, codec.side, codec.face)
    frames = render(
        subject.scene_setup,
        viewport,
        seed=subject.noise_seed,
        pulse_gain=pulse_gain,
        noise_gain=codec.face * CROP_TO_FACE / subject.profile.domain.crop_size,
        chunk=8,
    )
    own = Compression(codec.name, codec.crf, codec.qscale)
    return _compress(frames, subject.profile.domain.fps, subject.compression or own)


def _compress(frames: NDArray[np.uint8], fps: float, compression: Compression) -> NDArray[np.uint8]:
    return roundtrip(
        frames,
        fps,
        compression.codec,
        crf=compression.crf,
        qscale=compression.qscale,
        keyframe_interval=compression.keyframe_interval,
        keyframe_quantiser=compression.keyframe_quantiser,
    )


def _encoding(compression: Compression) -> Encoding:
    return Encoding(
        compression.codec,
        crf=compression.crf,
        qscale=compression.qscale,
        keyframe_interval=compression.keyframe_interval,
        keyframe_quantiser=compression.keyframe_quantiser,
    )


def _cut_crops(
    video: NDArray[np.uint8],
    codec: Codec,
    size: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Cut crops around a face whose centre is `x`, `y` face sides from the frame's centre."""
    side = codec.face * CROP_TO_FACE
    left = codec.side / 2 + codec.face * x - side / 2
    top = codec.side / 2 + codec.face * y - side / 2
    crops = [
        resample_box_uint8(frame, (float(x_px), float(y_px), side, side), size)
        for frame, x_px, y_px in zip(video, left, top, strict=True)
    ]
    return np.stack(crops)
