"""The evaluation protocol: one filter, windowing and spectrum for predictions and ground truth."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.signals import (
    RateSeries,
    bandpass,
    continuous_rate_series,
    detrend,
    rate_series,
    rppg_toolbox,
    sliding_windows,
)
from rppg.signals.rates import limit_by_windows

Array = NDArray[np.float64]
HeartRateSource = Literal["spectrum", "peaks"]
HEART_RATES: tuple[str, ...] = get_args(HeartRateSource)


@dataclass(frozen=True)
class Protocol:
    """Settings of a measurement: grid, filter, windows and spectrum.

    Attributes:
        name: `default`, or `toolbox` for rPPG-Toolbox's filter, spectrum, SNR and standard errors.
        fps: rate of the common grid in Hz.
        low_hz: lower end of the pulse's band.
        high_hz: its upper end.
        order: order of the Butterworth filter.
        window_s: length of a window in seconds.
        stride_s: time between the starts of two windows in seconds. By default windows don't
            overlap.
        min_valid: minimum share of a window's frames that show the face; a window with less has no
            heart rate.
        max_gap_s: a gap in the frames or in the ground truth longer than this counts as missing.
        examples: number of recordings of each dataset whose waveforms are kept.
        continuity: the predicted heart rates of a recording's windows are chosen together
            (`rppg.signals.continuity`); those of the ground truth never are. Not for `toolbox`.
        hr: where heart rates come from, those of the ground truth, too: the highest peak of the
            `spectrum`, or the mean interval between the wave's `peaks`.
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
    continuity: bool = False
    hr: HeartRateSource = "spectrum"

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz < self.fps / 2:
            raise InputError(
                f"the band {self.low_hz}–{self.high_hz} Hz does not fit below half of "
                f"{self.fps} Hz; raise fps or narrow the band"
            )
        if not math.isfinite(self.window_s):
            raise InputError(f"a window of {self.window_s} s; give a number of seconds, such as 30")
        if self.window_s * self.low_hz < 2:
            raise InputError(
                f"a window of {self.window_s} s holds fewer than two beats at {self.low_hz} Hz; "
                f"give at least {2 / self.low_hz:.1f} s"
            )
        if not (self.stride_s > 0 and math.isfinite(self.stride_s)):
            raise InputError(f"stride_s is {self.stride_s}; give a positive number of seconds")
        if self.hr not in HEART_RATES:
            raise InputError(f"hr is {self.hr!r}; choose one of {', '.join(HEART_RATES)}")
        if self.continuity and self.name == "toolbox":
            raise InputError(
                "continuity with the protocol toolbox, which has a heart rate for each window "
                "alone; leave continuity out, or choose the protocol default"
            )
        if self.continuity and self.hr != "spectrum":
            raise InputError(
                "continuity with heart rates from peaks, but it chooses among the peaks of the "
                "spectrum; leave continuity out, or take heart rates from the spectrum"
            )


TOOLBOX = Protocol(name="toolbox", order=1)
"""rPPG-Toolbox's protocol as in its code; its paper: `replace(TOOLBOX, low_hz=0.75,
high_hz=2.5)`."""


@dataclass(frozen=True)
class Measured:
    """A signal filtered by a protocol, with its heart rates.

    Attributes:
        bvp: `(T,)`, the whole signal, filtered.
        parts: `(W, L)`, the filtered signal in each window. The default protocol cuts them from
            `bvp`; the toolbox's cuts first, then filters each window.
        windows: heart rate of each window.
        clip: heart rate of the whole signal.
    """

    bvp: Array
    parts: Array
    windows: RateSeries
    clip: RateSeries


def measure(bvp: Array, protocol: Protocol, *, valid: NDArray[np.bool_] | None = None) -> Measured:
    """Filter a BVP `(T,)` on the protocol's grid and compute its heart rates.

    Used for predictions and for ground truth. `valid` `(T,)` is False where the source was missing.
    """
    fps, length_s, stride_s = protocol.fps, protocol.window_s, protocol.stride_s
    band = (protocol.low_hz, protocol.high_hz)
    if protocol.name != "toolbox":
        clean = bandpass(detrend(bvp, fps), fps, *band, protocol.order)
        _, parts = sliding_windows(clean, fps, length_s=length_s, stride_s=stride_s)
        windows = _rates(clean, valid, protocol, length_s, stride_s, continuity=protocol.continuity)
    else:
        clean = rppg_toolbox.clean(bvp, fps, *band, protocol.order)
        starts, parts = sliding_windows(bvp, fps, length_s=length_s, stride_s=stride_s)
        if len(parts):
            parts = rppg_toolbox.clean(parts, fps, *band, protocol.order)
        windows = _rates_of_parts(starts, parts, valid, protocol)
    whole = limit_by_windows(_rate_of_whole(clean, valid, protocol), windows)
    return Measured(clean, parts, windows, whole)


def _rates(
    clean: Array,
    valid: NDArray[np.bool_] | None,
    protocol: Protocol,
    length_s: float,
    stride_s: float,
    *,
    continuity: bool = False,
) -> RateSeries:
    series: Callable[..., RateSeries] = continuous_rate_series if continuity else rate_series
    if protocol.hr == "peaks":
        series = partial(rate_series, rate=rppg_toolbox.peak_rate_bpm)
    elif protocol.name == "toolbox":
        series = partial(rate_series, rate=rppg_toolbox.heart_rate_bpm)
    return series(
        clean,
        protocol.fps,
        valid=valid,
        length_s=length_s,
        stride_s=stride_s,
        low_hz=protocol.low_hz,
        high_hz=protocol.high_hz,
        min_valid=protocol.min_valid,
    )


def _rate_of_whole(clean: Array, valid: NDArray[np.bool_] | None, protocol: Protocol) -> RateSeries:
    whole_s = len(clean) / protocol.fps
    return _rates(clean, valid, protocol, whole_s, whole_s)


def _rates_of_parts(
    start_s: Array, parts: Array, valid: NDArray[np.bool_] | None, protocol: Protocol
) -> RateSeries:
    """Compute the heart rates of windows `(W, L)` that were filtered one by one."""
    valid_parts: list[NDArray[np.bool_] | None] = [None] * len(parts)
    if valid is not None:
        windows = {"length_s": protocol.window_s, "stride_s": protocol.stride_s}
        valid_parts = list(sliding_windows(valid, protocol.fps, **windows)[1])
    rates = [
        _rate_of_whole(part, valid_part, protocol)
        for part, valid_part in zip(parts, valid_parts, strict=True)
    ]
    return RateSeries(
        start_s,
        start_s + parts.shape[-1] / protocol.fps,
        np.concatenate([np.zeros(0), *(rate.hr_bpm for rate in rates)]),
        np.concatenate([np.zeros(0), *(rate.quality for rate in rates)]),
        features=np.concatenate([np.zeros((0, 4)), *(rate.features for rate in rates)]),
    )
