"""The synthetic domains: ranges of people, motion, light and camera.

A domain is data. A change of any number in a published domain requires a new version: `version` is
part of the random seed, of the cache's key and of every checkpoint and result.

These five mirror public datasets. `rppg.synthetic.filmed.domains` has those of people's own videos.
"""

from dataclasses import dataclass

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A camera: its response to blood, its colour mixing, and its tone curve.

    Attributes:
        signature: relative pulse amplitude (AC/DC) of R, G, B in linear light: the absorption of
            haemoglobin through this camera's filters.
        crosstalk: share of the neighbouring channels' light that leaks into a channel.
        gamma: pixel values are light to the power `1 / gamma`.
        exposure: linear level of white skin in full light, 1 is the white point.
        auto_exposure: share of a change of brightness that the camera compensates, with 1 s delay.
        noise_levels: deviation of the noise of one crop pixel at mid grey, in 8-bit levels.
    """

    signature: Rgb
    crosstalk: float = 0.05
    gamma: float = 2.2
    exposure: float = 0.6
    auto_exposure: float = 0.0
    noise_levels: float = 0.35


@dataclass(frozen=True)
class Codec:
    """A camera's video compression, see `rppg.video.encode`.

    Attributes:
        name: the encoder.
        crf: quality of libx264, 0 (best) to 51.
        qscale: quantiser of mpeg4, 1 (best) to 31.
        side: side of the square frame in pixels.
        face: side of the face box in it, in pixels.
    """

    name: str
    crf: int | None = None
    qscale: int | None = None
    side: int = 144
    face: int = 80


@dataclass(frozen=True)
class Light:
    """Light: a key lamp, ambient light, and a second lamp of another colour that varies.

    Attributes:
        name: the light's name, in the metadata if a domain has several.
        key_rgb: colour of the key lamp.
        ambient: ambient light as a share of the key lamp.
        drift: deviation of the key lamp's slow drift.
        second_rgb: colour of the second lamp (a screen, a fluorescent tube).
        second: mean of the second lamp as a share of the key lamp.
        cuts: deviation of the second lamp's jumps, as a share of its mean (scene cuts on a screen).
        flicker: range of amplitudes of its periodic flicker in the pulse band, likewise.
        spill: range of the second lamp's share on the background, relative to the face.
    """

    name: str = "room"
    key_rgb: Rgb = (1.0, 0.95, 0.85)
    ambient: float = 0.4
    drift: float = 0.005
    second_rgb: Rgb = (0.7, 0.9, 1.3)
    second: float = 0.15
    cuts: float = 0.0
    flicker: tuple[float, float] = (0.0, 0.0)
    spill: tuple[float, float] = (0.3, 0.7)


@dataclass(frozen=True)
class Motion:
    """Head motion. Shifts are in face sides, angles in radians; both are standard deviations.

    Attributes:
        name: the motion's name, in the metadata.
        sway: slow drift of the position.
        jerk: quick motion (up to 2 Hz) of the position.
        turn: slow rotation (yaw, pitch).
        shake: quick rotation (up to 3 Hz).
        talk: opening of the mouth.
        periodic: range of amplitudes of a periodic nod and sway in the pulse band.
        hr_bpm: range of heart rates with this motion, if it isn't the domain's.
    """

    name: str
    sway: float = 0.01
    jerk: float = 0.001
    turn: float = 0.02
    shake: float = 0.002
    talk: float = 0.0
    periodic: tuple[float, float] = (0.0, 0.0)
    hr_bpm: tuple[float, float] | None = None


@dataclass(frozen=True)
class Domain:
    """A synthetic domain: the ranges that its recordings are drawn from.

    With a `codec`, crops are cut from a compressed video. Without one, they are rendered directly.

    Attributes:
        name, version: together they form the domain's key.
        mirrors: the public dataset that the domain imitates.
        hr_bpm: range of heart rates.
        pulse: range of pulse amplitudes in AC/DC units at the camera's strongest channel.
        skin_types: Fitzpatrick skin types.
        motions, lights, cameras: one of each is drawn per subject.
        fps: frame rate in Hz.
        jitter_s: deviation of the frames' times in seconds.
        crop_size: side of the crops in pixels.
        codec: the video compression; None for none.
    """

    name: str
    version: int
    mirrors: str
    hr_bpm: tuple[float, float]
    pulse: tuple[float, float]
    skin_types: tuple[int, ...]
    motions: tuple[Motion, ...]
    lights: tuple[Light, ...]
    cameras: tuple[Camera, ...]
    fps: float = 30.0
    jitter_s: float = 0.0
    crop_size: int = 36
    codec: Codec | None = None

    @property
    def key(self) -> str:
        """The name with the version, `webcam@1`."""
        return f"{self.name}@{self.version}"


LAB = Domain(
    name="lab",
    version=1,
    mirrors="PURE",
    hr_bpm=(50, 120),
    pulse=(0.004, 0.010),
    skin_types=(1, 2, 3),
    motions=(
        Motion("still", sway=0.007, jerk=0.0007, turn=0.014, shake=0.0014),
        Motion("talking", jerk=0.0007, talk=0.02, shake=0.007),
        Motion("translation", sway=0.10, jerk=0.004),
        Motion("rotation", turn=0.14, shake=0.010),
    ),
    lights=(Light(drift=0.003, second=0.0),),
    cameras=(Camera(signature=(0.40, 0.76, 0.50), noise_levels=0.3),),
)

WEBCAM = Domain(
    name="webcam",
    version=1,
    mirrors="UBFC-rPPG",
    hr_bpm=(55, 130),
    pulse=(0.004, 0.010),
    skin_types=(1, 2, 3, 4),
    motions=(Motion("mild", sway=0.015, jerk=0.0015, turn=0.025, shake=0.003, talk=0.005),),
    lights=(Light(second=0.25, cuts=0.16, second_rgb=(0.6, 0.9, 1.4), spill=(0.0, 0.3)),),
    cameras=(
        Camera(signature=(0.62, 0.69, 0.27), crosstalk=0.03, auto_exposure=0.3, noise_levels=0.4),
    ),
)

WILD = Domain(
    name="wild",
    version=1,
    mirrors="VIPL-HR",
    hr_bpm=(50, 140),
    pulse=(0.004, 0.010),
    skin_types=(2, 3, 4, 5),
    motions=(
        Motion("large", sway=0.06, jerk=0.008, turn=0.08, shake=0.011),
        Motion("talking", jerk=0.0003, talk=0.013, shake=0.005, turn=0.017),
        Motion("periodic", sway=0.017, jerk=0.0003, periodic=(0.005, 0.02)),
    ),
    lights=(
        Light(second=0.3, flicker=(0.001, 0.003), second_rgb=(0.8, 1.1, 0.9), spill=(0.0, 0.8)),
    ),
    cameras=(
        Camera(signature=(0.15, 0.60, 0.75), noise_levels=0.7, auto_exposure=0.3),
        Camera(signature=(0.25, 0.70, 0.65), gamma=1.8, noise_levels=0.7),
        Camera(signature=(0.35, 0.78, 0.50), gamma=2.4, noise_levels=0.9, auto_exposure=0.5),
    ),
    fps=25.0,
    jitter_s=0.004,
)

CODEC = Domain(
    name="codec",
    version=1,
    mirrors="COHFACE",
    hr_bpm=(50, 110),
    pulse=(0.005, 0.010),
    skin_types=(1, 2, 3, 4),
    motions=(Motion("still", sway=0.01, jerk=0.001, turn=0.02, shake=0.002),),
    lights=(
        Light("lamp", drift=0.003, second=0.0),
        Light("window", key_rgb=(0.85, 0.95, 1.05), ambient=0.25, drift=0.02, second=0.0),
    ),
    cameras=(Camera(signature=(0.40, 0.72, 0.57), noise_levels=0.4, auto_exposure=0.3),),
    fps=20.0,
    codec=Codec("mpeg4", qscale=2),
)

MOBILE = Domain(
    name="mobile",
    version=1,
    mirrors="MMPD",
    hr_bpm=(55, 120),
    pulse=(0.004, 0.010),
    skin_types=(3, 4, 5, 6),
    motions=(
        Motion("stationary", sway=0.01, jerk=0.001, turn=0.02, shake=0.002),
        Motion("talking", jerk=0.0007, talk=0.015, shake=0.006),
        Motion("walking", sway=0.03, jerk=0.003, periodic=(0.003, 0.010)),
        Motion("after exercise", sway=0.02, jerk=0.002, turn=0.03, hr_bpm=(90, 150)),
    ),
    lights=(
        Light("LED-low", key_rgb=(0.55, 0.52, 0.47), second=0.0),
        Light("LED-high", second=0.0),
        Light("Incandescent", key_rgb=(1.2, 0.9, 0.55), second=0.0),
        Light("Nature", key_rgb=(0.9, 1.0, 1.05), drift=0.02, second=0.0),
    ),
    cameras=(Camera(signature=(0.30, 0.68, 0.67), noise_levels=0.7, auto_exposure=0.5),),
    codec=Codec("libx264", crf=10),
)

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (LAB, WEBCAM, CODEC, MOBILE, WILD)}
"""The five domains that mirror public datasets: those of studies and tables. See `all_domains`."""
