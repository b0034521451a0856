"""The camera and codec of one recording of a filmed domain, drawn first, as its metadata."""

from dataclasses import dataclass

import numpy as np

from rppg.synthetic.filmed.domains import Filming

CENTRE_Y = 0.45
"""The face's height in the frame, as a share from the top."""
LEAST_BITS = 0.02
"""Bits per pixel from which a frame's size is used: with fewer, a video call makes it smaller."""


@dataclass(frozen=True)
class Conditions:
    """What a recording is filmed with.

    Attributes:
        width, height, face_px: sides of the frame and of the face box in pixels.
        fps: nominal frame rate in Hz.
        skin_level: brightness of the face's skin, of 255.
        full_well: electrons at the white point.
        read_noise: noise of the readout in electrons.
        codec: the encoder; None without compression. Then the three others are 0.
        bit_rate_kbps, keyframe_s, b_frames: of the codec.
        denoise: share of the previous frame in the next, where nothing moves.
    """

    width: int
    height: int
    face_px: int
    fps: float
    skin_level: int
    full_well: int
    read_noise: float
    codec: str | None
    bit_rate_kbps: int
    keyframe_s: float
    b_frames: int
    denoise: float

    @property
    def centre(self) -> tuple[float, float]:
        """The face at rest, x and y in pixels."""
        return self.width / 2, round(CENTRE_Y * self.height)

    @property
    def keyframe_interval(self) -> int:
        """Frames from one keyframe to the next."""
        return max(1, round(self.keyframe_s * self.fps))

    @property
    def metadata(self) -> dict[str, str]:
        """The properties that errors can be drawn against, as text.

        A manifest's column `fps` would replace the frames' own times, so the rate has another name.
        """
        found = {
            "height": str(self.height),
            "face_px": str(self.face_px),
            "nominal_fps": f"{self.fps:g}",
            "skin_level": str(self.skin_level),
        }
        if self.codec is None:
            return found | {"full_well": str(self.full_well)}
        return found | {
            "codec": self.codec,
            "bit_rate_kbps": str(self.bit_rate_kbps),
            "keyframe_s": f"{self.keyframe_s:g}",
            "b_frames": str(self.b_frames),
        }


def draw_conditions(rng: np.random.Generator, filming: Filming) -> Conditions:
    """Draw a recording's camera and codec."""
    width, height = filming.sizes[rng.integers(len(filming.sizes))]
    rates = [
        kbps
        for kbps in filming.bit_rates_kbps
        if 1000 * kbps >= LEAST_BITS * width * height * max(filming.rates_hz)
    ]
    faces = [face for face in filming.faces_px if face <= min(width, height) / 2]
    coded = bool(filming.codecs)
    return Conditions(
        width=width,
        height=height,
        face_px=int(rng.choice(faces)),
        fps=float(rng.choice(filming.rates_hz)),
        skin_level=int(rng.choice(filming.skin_levels)),
        full_well=int(rng.choice(filming.full_wells)),
        read_noise=float(rng.uniform(*filming.read_noise)),
        codec=str(rng.choice(filming.codecs)) if coded else None,
        bit_rate_kbps=int(rng.choice(rates)) if coded else 0,
        keyframe_s=float(rng.choice(filming.keyframes_s)) if coded else 0.0,
        b_frames=int(rng.choice(filming.b_frames)) if coded else 0,
        denoise=float(rng.uniform(*filming.denoise)),
    )
