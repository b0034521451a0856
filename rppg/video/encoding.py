"""What an encoder is asked for, and the options of FFmpeg's encoders that say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError

CODECS = ("libx264", "libx265", "mpeg4", "mjpeg", "ffv1")
X265_SIDE = 96
"""The smallest side for libx265, which writes beyond its memory in frames of 48 pixels."""
X26 = ("libx264", "libx265")
PREDICTING = ("libx264", "libx265", "mpeg4")
"""Codecs with frames between the keyframes."""
TICKS = 60_000
"""Clock ticks per second in files with a time per frame. Rates of 24, 25, 29.97, 30, 50 and 60 are
exact, and MPEG-4 allows no more than 65535."""


@dataclass(frozen=True)
class Encoding:
    """What an encoder is asked for. What is None is the encoder's choice.

    Attributes:
        codec: one of `CODECS`; `ffv1` is lossless.
        crf: quality of libx264 and libx265, 0 (best) to 51.
        qscale: quantiser of mpeg4 and mjpeg, 1 (best) to 31.
        bit_rate: target in bits per second.
        keyframe_interval: frames from one keyframe to the next.
        keyframe_quantiser: libx264's quantiser of keyframes, relative to that of other frames.
        b_frames: frames in a row that are predicted from later ones, of libx264 and libx265.
        preset: speed of libx264 and libx265, such as `veryfast`.
        buffer_s: of libx264 and libx265, seconds over which the bit rate isn't exceeded. Then each
            keyframe has the stream's headers, so that one can join there.

    Raises:
        InputError: an unknown codec, or an option that it doesn't have.
    """

    codec: str = "libx264"
    crf: int | None = None
    qscale: int | None = None
    bit_rate: int | None = None
    keyframe_interval: int | None = None
    keyframe_quantiser: float | None = None
    b_frames: int | None = None
    preset: str | None = None
    buffer_s: float | None = None

    def __post_init__(self) -> None:
        codec = self.codec
        if codec not in CODECS:
            raise InputError(f"unknown codec {codec!r}; choose one of {', '.join(CODECS)}")
        if codec not in av.codecs_available:
            raise InputError(
                f"this PyAV has no {codec} encoder; choose another codec, such as mpeg4"
            )
        if self.crf is not None and codec not in X26:
            raise InputError(
                f"crf is an option of {' and '.join(X26)}; give {codec} qscale or bit_rate instead"
            )
        if self.qscale is not None and codec not in ("mpeg4", "mjpeg"):
            raise InputError(f"qscale is an option of mpeg4 and mjpeg; give {codec} something else")
        interval, quantiser = self.keyframe_interval, self.keyframe_quantiser
        if interval is not None and (codec not in PREDICTING or interval < 1):
            raise InputError(
                f"keyframe_interval {interval} with {codec}; give at least 1, and one of "
                f"{', '.join(PREDICTING)}"
            )
        if quantiser is not None and (codec != "libx264" or quantiser <= 0):
            raise InputError(
                f"keyframe_quantiser {quantiser:g} with {codec}; give more than 0, and libx264"
            )
        if codec not in X26 and (self.b_frames, self.preset, self.buffer_s) != (None, None, None):
            raise InputError(
                f"b_frames, preset or buffer_s with {codec}; give one of {', '.join(X26)}"
            )
        if self.buffer_s is not None and (self.bit_rate is None or self.buffer_s <= 0):
            raise InputError(f"buffer_s {self.buffer_s:g}; give more than 0, and a bit_rate")
        if self.b_frames is not None and not 0 <= self.b_frames <= 16:
            raise InputError(f"b_frames {self.b_frames}; give 0 to 16")

    def options(self, *, one_thread: bool = False) -> dict[str, str]:
        """Return the options of FFmpeg's encoder; the bit rate is set apart.

        Args:
            one_thread: encode in one thread. With more, the result depends on their number.
        """
        options = {} if self.crf is None else {"crf": str(self.crf)}
        if self.keyframe_interval is not None:
            # Without keyframes where the scene changes: libx264 has none at 0, mpeg4 above a score.
            never = "1000000000" if self.codec == "mpeg4" else "0"
            options |= {"g": str(self.keyframe_interval), "sc_threshold": never}
        if self.keyframe_quantiser is not None:
            options["i_qfactor"] = str(self.keyframe_quantiser)
        if self.b_frames is not None:
            options["bf"] = str(self.b_frames)
        if self.preset is not None:
            options["preset"] = self.preset
        if self.codec == "libx264":
            # Its vector code reads beyond the frame's edge otherwise.
            parameters = ["cpu-independent=1"]
            if one_thread:
                parameters += ["threads=1", "lookahead-threads=1"]
            options["x264-params"] = ":".join(parameters + self._stream())
        if self.codec == "libx265":
            parameters = ["log-level=none", "scenecut=0", "open-gop=0"]
            if one_thread:
                parameters += ["pools=none", "frame-threads=1"]
            if self.keyframe_interval is not None:
                parameters.append(f"min-keyint={self.keyframe_interval}")
            options["x265-params"] = ":".join(parameters + self._stream())
        if self.qscale is not None:
            options |= {"qmin": str(self.qscale), "qmax": str(self.qscale)}
        return options

    def _stream(self) -> list[str]:
        if self.buffer_s is None or self.bit_rate is None:
            return []
        kbps = self.bit_rate / 1000
        limits = [f"vbv-maxrate={kbps:.0f}", f"vbv-bufsize={kbps * self.buffer_s:.0f}"]
        return [*limits, "repeat-headers=1"]


def check_size(codec: str, width: int, height: int) -> None:
    """Raise InputError for frames that an encoder can't be trusted with."""
    if codec == "libx265" and min(width, height) < X265_SIDE:
        raise InputError(
            f"{width}x{height} frames with libx265, which damages memory on small ones; give sides "
            f"of at least {X265_SIDE} pixels, or another codec"
        )


def frame_ticks(
    times_s: Sequence[float] | NDArray[np.float64],
) -> tuple[Fraction, NDArray[np.int64]]:
    """Return the mean frame rate, and each frame's time in ticks, 0 for the first."""
    clock = np.asarray(times_s, dtype=np.float64)
    rate = Fraction((len(clock) - 1) / (clock[-1] - clock[0]) if len(clock) > 1 else 30)
    ticks = np.rint((clock - clock[0]) * TICKS).astype(np.int64)
    return rate.limit_denominator(1001), ticks


def default_format(codec: str, width: int, height: int) -> str:
    """Return the format that a codec stores by default."""
    if codec in X26 and (width % 2 or height % 2):
        return "yuv444p"  # their 4:2:0 needs even sides
    return {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
