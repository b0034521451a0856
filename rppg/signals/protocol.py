"""The protocol: prediction and label go through the same filter, windows and spectrum."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.signals import (
    RateSeries,
    bandpass,
    detrend,
    heart_rate_bpm,
    rate_series,
    sliding_windows,
    toolbox,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Protocol:
    """Settings of an evaluation.

    Attributes:
        name: `default`, or `toolbox` for rPPG-Toolbox's filter, spectrum, SNR and standard errors.
        fps: rate of the common grid in Hz.
        low_hz: lower end of the pulse's band.
        high_hz: its upper end.
        order: order of the Butterworth filter.
        window_s: length of a window in seconds.
        stride_s: from one window's start to the next; as long as a window, so that none overlap.
        min_valid: least share of a window's frames that must show the face; under it the window
            has no estimate.
        max_gap_s: a hole in the frames or in the label longer than this counts as missing.
        examples: records of each dataset whose waveforms are kept.
    """

    name: Literal["default", "toolbox"] = "default"
    fps: float = 30.0
    low_hz: float = 0.6
    high_hz: float = 3.3
    order: int = 2
    window_s: float = 10.0
    stride_s: float = 10.0
    min_valid: float = 0.5
    max_gap_s: float = 0.5
    examples: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz < self.fps / 2:
            raise InputError(
                f"the band {self.low_hz}–{self.high_hz} Hz does not fit below half of "
                f"{self.fps} Hz; raise fps or narrow the band"
            )
        if self.window_s * self.low_hz < 2:
            raise InputError(
                f"a window of {self.window_s} s holds fewer than two beats at {self.low_hz} Hz; "
                f"give at least {2 / self.low_hz:.1f} s"
            )
        if self.stride_s <= 0:
            raise InputError(f"stride_s is {self.stride_s}; give a positive number of seconds")


TOOLBOX = Protocol(name="toolbox", order=1)
"""As rPPG-Toolbox's code does; its paper has `replace(TOOLBOX, low_hz=0.75, high_hz=2.5)`."""


@dataclass(frozen=True)
class Measured:
    """One signal after the protocol.

    Attributes:
        bvp: `(T,)`, filtered as a whole.
        parts: `(W, L)`, the filtered signal in each window: cut from `bvp` by the default protocol,
            cut first and filtered alone by the toolbox's.
        windows: heart rate of each window.
        clip: heart rate of the whole.
    """

    bvp: Array
    parts: Array
    windows: RateSeries
    clip: RateSeries


def measure(bvp: Array, protocol: Protocol, *, valid: NDArray[np.bool_] | None = None) -> Measured:
    """Filter a BVP `(T,)` on the protocol's grid, and take its heart rates.

    Prediction and label both pass here. `valid` `(T,)` is False where the source was missing.
    """
    fps, length_s, stride_s = protocol.fps, protocol.window_s, protocol.stride_s
    band = (protocol.low_hz, protocol.high_hz)
    if protocol.name != "toolbox":
        clean = bandpass(detrend(bvp, fps), fps, *band, protocol.order)
        _, parts = sliding_windows(clean, fps, length_s=length_s, stride_s=stride_s)
        windows = _course(clean, valid, protocol, length_s, stride_s)
    else:
        clean = toolbox.clean(bvp, fps, *band, protocol.order)
        starts, parts = sliding_windows(bvp, fps, length_s=length_s, stride_s=stride_s)
        if len(parts):
            parts = toolbox.clean(parts, fps, *band, protocol.order)
        windows = _courses(starts, parts, valid, protocol)
    return Measured(clean, parts, windows, _whole(clean, valid, protocol))


def _course(
    clean: Array,
    valid: NDArray[np.bool_] | None,
    protocol: Protocol,
    length_s: float,
    stride_s: float,
) -> RateSeries:
    return rate_series(
        clean,
        protocol.fps,
        valid=valid,
        length_s=length_s,
        stride_s=stride_s,
        low_hz=protocol.low_hz,
        high_hz=protocol.high_hz,
        min_valid=protocol.min_valid,
        rate=toolbox.heart_rate_bpm if protocol.name == "toolbox" else heart_rate_bpm,
    )


def _whole(clean: Array, valid: NDArray[np.bool_] | None, protocol: Protocol) -> RateSeries:
    whole_s = len(clean) / protocol.fps
    return _course(clean, valid, protocol, whole_s, whole_s)


def _courses(
    start_s: Array, parts: Array, valid: NDArray[np.bool_] | None, protocol: Protocol
) -> RateSeries:
    """The rates of windows `(W, L)` that were filtered one by one."""
    shown: list[NDArray[np.bool_] | None] = [None] * len(parts)
    if valid is not None:
        spans = {"length_s": protocol.window_s, "stride_s": protocol.stride_s}
        shown = list(sliding_windows(valid, protocol.fps, **spans)[1])
    found = [_whole(part, show, protocol) for part, show in zip(parts, shown, strict=True)]
    return RateSeries(
        start_s,
        start_s + parts.shape[-1] / protocol.fps,
        np.concatenate([np.zeros(0), *(course.hr_bpm for course in found)]),
        np.concatenate([np.zeros(0), *(course.quality for course in found)]),
    )
