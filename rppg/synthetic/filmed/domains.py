"""The filmed domains: ranges of what people's own videos are made with.

They stand beside the five of `rppg.synthetic.domains`, which mirror public datasets. The rules are
the same: a change of any number in a published domain requires a new version.
"""

from dataclasses import dataclass

from rppg.synthetic.domains import Camera, Domain, Light, Motion

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Filming:
    """What the camera of a recording is drawn from. Levels are drawn one of each, ranges evenly.

    Attributes:
        sizes: width and height of the frame in pixels.
        faces_px: sides of the face box; at most half of the frame's smaller side is drawn.
        rates_hz: nominal frame rates.
        skin_levels: brightness of the face's skin, the mean of the channels, of 255.
        full_wells: electrons of a pixel at the white point: fewer, more shot noise.
        read_noise: noise of the readout in electrons.
        codecs: encoders, `libx264` or `libx265`; without any, frames aren't compressed.
        bit_rates_kbps, keyframes_s, b_frames: bit rate, time from one keyframe to the next, and
            frames that are predicted from later ones, in a row.
        dropped: range of the share of frames that are missing.
        jitter_s: deviation of the frames' times.
        pumping: range of amplitudes of a gain that swings at a rate in the pulse band.
        exposure_steps: range of deviations of the automatic exposure's steps.
        white_balance_steps: likewise, of red and blue.
        contrast: range of the strength of the tone mapping, 0 to 1; it drifts by a fifth.
        denoise: range of the share of the previous frame in the next, where nothing moves.
        shake: range of deviations of the hand's motion, in face sides.
        bands: range of amplitudes of a weak lamp's bands, which run down the frame.
    """

    sizes: tuple[tuple[int, int], ...]
    faces_px: tuple[int, ...]
    rates_hz: tuple[float, ...]
    skin_levels: tuple[int, ...]
    full_wells: tuple[int, ...]
    read_noise: Range
    codecs: tuple[str, ...] = ()
    bit_rates_kbps: tuple[int, ...] = ()
    keyframes_s: tuple[float, ...] = ()
    b_frames: tuple[int, ...] = ()
    dropped: Range = (0.0, 0.0)
    jitter_s: float = 0.0
    pumping: Range = (0.0, 0.0)
    exposure_steps: Range = (0.0, 0.0)
    white_balance_steps: Range = (0.0, 0.0)
    contrast: Range = (0.0, 0.0)
    denoise: Range = (0.0, 0.0)
    shake: Range = (0.0, 0.0)
    bands: Range = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class FilmedDomain(Domain):
    """A domain whose recordings each have a camera of their own, see `Filming`.

    `fps` is the most common frame rate; `codec` and `jitter_s` aren't used.
    """

    filming: Filming


STREAM = FilmedDomain(
    name="stream",
    version=1,
    mirrors="video calls",
    hr_bpm=(50, 120),
    pulse=(0.006, 0.014),
    skin_types=(1, 2, 3, 4, 5, 6),
    motions=(
        Motion("still", sway=0.008, jerk=0.0008, turn=0.015, shake=0.0015),
        Motion("talking", jerk=0.0007, talk=0.015, shake=0.005),
        Motion("swaying", sway=0.04, jerk=0.002, turn=0.04, shake=0.004),
    ),
    lights=(
        Light("lamp", drift=0.004, second=0.0),
        Light("window", key_rgb=(0.85, 0.95, 1.05), ambient=0.25, drift=0.015, second=0.0),
        Light("screen", second=0.2, cuts=0.08, second_rgb=(0.7, 0.9, 1.3), spill=(0.0, 0.4)),
    ),
    cameras=(
        Camera(signature=(0.28, 0.74, 0.61), auto_exposure=0.3),
        Camera(signature=(0.48, 0.75, 0.45), gamma=2.0, auto_exposure=0.5),
    ),
    filming=Filming(
        sizes=((640, 360), (854, 480), (1280, 720)),
        faces_px=(60, 90, 130, 180, 250),
        rates_hz=(25.0, 30.0),
        skin_levels=(80, 120, 160),
        full_wells=(8000, 16000),
        read_noise=(2.0, 5.0),
        codecs=("libx264", "libx265"),
        bit_rates_kbps=(200, 300, 450, 600, 800),
        keyframes_s=(1.0, 2.0, 5.0, 10.0),
        b_frames=(0, 1, 3),
    ),
)

DIM = FilmedDomain(
    name="dim",
    version=1,
    mirrors="webcams in dim light",
    hr_bpm=(50, 120),
    pulse=(0.006, 0.014),
    skin_types=(1, 2, 3, 4, 5, 6),
    motions=(
        Motion("still", sway=0.008, jerk=0.0008, turn=0.015, shake=0.0015),
        Motion("mild", sway=0.015, jerk=0.0015, turn=0.025, shake=0.003, talk=0.005),
    ),
    lights=(
        Light("lamp", key_rgb=(1.2, 0.9, 0.55), drift=0.01, second=0.0),
        Light("television", second=0.4, cuts=0.04, second_rgb=(0.6, 0.9, 1.4), spill=(0.1, 0.8)),
        Light("candle", key_rgb=(1.3, 0.85, 0.45), drift=0.01, second=0.3,
              second_rgb=(1.4, 0.8, 0.35), flicker=(0.0005, 0.002), spill=(0.1, 0.8)),
    ),
    cameras=(
        Camera(signature=(0.22, 0.66, 0.72)),
        Camera(signature=(0.42, 0.74, 0.53), gamma=2.0),
    ),
    filming=Filming(
        sizes=((640, 480), (1280, 720)),
        faces_px=(100, 140, 180),
        rates_hz=(30.0,),
        skin_levels=(15, 20, 30, 45, 60),
        full_wells=(1500, 3000, 6000),
        read_noise=(1.5, 3.0),
        pumping=(0.002, 0.01),
        bands=(0.0005, 0.002),
    ),
)  # fmt: skip

PHONE = FilmedDomain(
    name="phone",
    version=1,
    mirrors="phone videos",
    hr_bpm=(50, 130),
    pulse=(0.006, 0.014),
    skin_types=(1, 2, 3, 4, 5, 6),
    motions=(
        Motion("still", sway=0.01, jerk=0.001, turn=0.02, shake=0.002),
        Motion("talking", jerk=0.0007, talk=0.015, shake=0.005),
        Motion("walking", sway=0.03, jerk=0.002, periodic=(0.002, 0.006)),
    ),
    lights=(
        Light("indoors", drift=0.01, second=0.1, cuts=0.08, second_rgb=(0.7, 0.9, 1.3),
              spill=(0.0, 0.2)),
        Light("outdoors", key_rgb=(0.9, 1.0, 1.05), drift=0.025, second=0.0),
        Light("evening", key_rgb=(1.2, 0.9, 0.55), drift=0.005, second=0.3, cuts=0.04,
              second_rgb=(0.7, 0.9, 1.3), spill=(0.0, 0.1)),
    ),
    cameras=(
        Camera(signature=(0.20, 0.70, 0.68), auto_exposure=0.5),
        Camera(signature=(0.33, 0.77, 0.54), auto_exposure=0.7),
        Camera(signature=(0.52, 0.73, 0.44), gamma=2.4, auto_exposure=0.5),
    ),
    filming=Filming(
        sizes=((360, 640), (480, 854)),
        faces_px=(100, 140, 180, 230),
        rates_hz=(24.0, 25.0, 30.0, 60.0),
        skin_levels=(60, 90, 120, 160),
        full_wells=(4000, 8000),
        read_noise=(2.0, 4.0),
        codecs=("libx264",),
        bit_rates_kbps=(2000, 4000, 8000),
        keyframes_s=(1.0, 2.0),
        b_frames=(0,),
        dropped=(0.0, 0.04),
        jitter_s=0.003,
        exposure_steps=(0.005, 0.02),
        white_balance_steps=(0.003, 0.01),
        contrast=(0.0, 0.4),
        denoise=(0.0, 0.4),
        shake=(0.002, 0.006),
    ),
)  # fmt: skip

FILMED_DOMAINS: dict[str, FilmedDomain] = {domain.name: domain for domain in (STREAM, DIM, PHONE)}
