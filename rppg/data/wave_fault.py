"""Faults by which a ground-truth wave can't be a pulse: another column, another unit, no sensor."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.signals import resample, uniform_grid
from rppg.types import Pulse

SLOWEST_HZ = 8.0
"""A wave sampled more slowly cannot represent a pulse of 200 bpm with its harmonics."""
GRID_HZ = 30.0
WINDOW_S = 10.0
BAND_HZ = (0.5, 4.0)
"""Rates of a pulse. Its harmonics lie above."""
LONGEST_S = 1e5
"""Times that span more aren't resampled: a grid over them would have no end."""
LEAST_SHARE = 0.01
"""A pulse has more of its power than this in the band, once the line through each window is
removed. Of contact waves it is most of the power."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WaveFault:
    """The reason why a wave is no pulse.

    Attributes:
        kind: clock: the times aren't in seconds; flat: one value; wave: a wave of something else.
        message: what was found and what to do, without the file's name.
    """

    kind: Literal["clock", "flat", "wave"]
    message: str


def usable_samples(truth: Pulse) -> Pulse:
    """Return the samples that are finite and whose times increase."""
    keep = np.isfinite(truth.bvp) & np.isfinite(truth.times_s)
    times, bvp = truth.times_s[keep], truth.bvp[keep]
    if len(times) > 1:
        later = np.concatenate([[True], times[1:] > np.maximum.accumulate(times)[:-1]])
        times, bvp = times[later], bvp[later]
    return Pulse(times, bvp)


def find_wave_fault(truth: Pulse) -> WaveFault | None:
    """Return why a ground truth can't be a pulse; None if it may be one, or is too short to say.

    A wave is none if its times aren't in seconds, if it is flat, if it only rises or falls (row
    numbers, times), or if it has no power at the rates of a heart.
    """
    usable = usable_samples(truth)
    times, bvp = usable.times_s, usable.bvp
    if len(times) < 2:
        return None
    step_s = float(np.median(np.diff(times)))
    if step_s * SLOWEST_HZ > 1:
        return WaveFault("clock", f"a value every {step_s:.3g} s; are the times in seconds?")
    if np.ptp(bvp) == 0:
        return WaveFault("flat", f"the wave is flat, all of its values are {bvp[0]:g}")
    steps = np.diff(bvp)
    if len(bvp) > 2 and (np.all(steps >= 0) or np.all(steps <= 0)):
        direction = "rises" if bvp[-1] > bvp[0] else "falls"
        return WaveFault(
            "wave",
            f"no pulse: the wave only {direction}, from {bvp[0]:g} to {bvp[-1]:g}; are these row "
            "numbers or times? Give the column of the wave",
        )
    share = _share_in_band(times, bvp)
    if share < LEAST_SHARE:
        low, high = (60 * hz for hz in BAND_HZ)
        return WaveFault(
            "wave",
            f"no pulse: {share:.1%} of the wave's power is between {low:g} and {high:g} bpm; is it "
            "another signal? Give the column of the wave",
        )
    return None


def check_wave(truth: Pulse, where: str) -> Pulse:
    """Return the ground truth if it may be a pulse.

    Raises:
        InputError: it is none; names `where` and the reason.
    """
    fault = find_wave_fault(truth)
    if fault is not None:
        raise InputError(f"{where}: {fault.message}")
    return truth


def _share_in_band(times: Array, bvp: Array) -> float:
    """Return the median over windows of the share of the power in `BAND_HZ`.

    1 if the wave is too short or too long to say.
    """
    start, end = float(times[0]), float(times[-1])
    length_s = min(WINDOW_S, end - start)
    if length_s < 2 / BAND_HZ[0] or end - start > LONGEST_S:
        return 1.0
    scaled = bvp / np.max(np.abs(bvp))  # squares of damaged values may overflow
    wave = resample(scaled, times, uniform_grid([start, end], GRID_HZ))
    count = round(length_s * GRID_HZ)
    pieces = wave[: len(wave) // count * count].reshape(-1, count)
    line = np.linspace(-1, 1, count)
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    pieces = pieces - np.outer(pieces @ line / (line @ line), line)
    power = np.abs(np.fft.rfft(pieces * np.hanning(count))) ** 2
    hz = np.fft.rfftfreq(count, 1 / GRID_HZ)
    total = power.sum(axis=1)
    varied = total > 0
    if not varied.any():
        return 0.0
    inside = (hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])
    return float(np.median(power[varied][:, inside].sum(axis=1) / total[varied]))
