"""Whether a heart rate is the rhythm of a video's keyframes.

A codec stores a keyframe whole and the frames after it as changes, so the colours jump a little at
each keyframe. With keyframes every 20 frames of 30 Hz, a photograph has a clear "pulse" of 90 bpm.
It keeps its phase to the keyframes, from which a pulse drifts away.
"""

import numpy as np
from numpy.typing import NDArray

from rppg.signals.filters import HIGH_HZ
from rppg.signals.rates import RateSeries

Array = NDArray[np.float64]

LEAST_KEYFRAMES = 5
"""Fewer in a window have no rhythm, and their harmonics are too close to exclude by chance."""
REGULAR, REGULAR_SHARE = 0.1, 0.8
"""Intervals may differ by this share of their median; so many of them have to be regular."""
NEAR_S = 1.0
"""A rate coincides with a harmonic within this over the window's length: half of a Hann window's
line."""
HALF_WIDTH_HZ = 0.1
"""Half width of the band around the rate whose power is to be explained."""
EXPLAINED = 0.85
"""Share of that power, locked to the keyframes, from which the rate is theirs; 0.91 to 0.98 on most
photographs. A steady pulse has it only within a quarter of 1 / length of a harmonic: 1.5 bpm in
10 s, 0.5 in 30 s."""
CONTEXT_S = 30.0
"""So much of the wave around a window counts, too, if there is as much: a pulse drifts in it."""


def has_rhythm(keyframes_s: Array) -> bool:
    """Return whether there are enough keyframes, at times `(K,)`, at regular intervals."""
    if len(keyframes_s) < LEAST_KEYFRAMES:
        return False
    intervals = np.diff(keyframes_s)
    usual = np.median(intervals)
    return bool(np.mean(np.abs(intervals - usual) <= REGULAR * usual) >= REGULAR_SHARE)


def is_keyframe_rate(
    rates: RateSeries, bvp: Array, fps: float, keyframes_s: Array
) -> NDArray[np.bool_]:
    """Return for each window whether its heart rate is that of the keyframes, `(W,)` bool.

    Args:
        rates: of W windows of the wave.
        bvp: `(T,)` the filtered wave.
        fps: sampling rate of the wave in Hz.
        keyframes_s: `(K,)` times of the keyframes in seconds from the wave's first sample; empty if
            every frame is one.
    """
    found = np.zeros(len(rates.hr_bpm), dtype=np.bool_)
    for index in np.flatnonzero(np.isfinite(rates.hr_bpm)):
        first_s, last_s = rates.start_s[index], rates.end_s[index]
        rate_hz = rates.hr_bpm[index] / 60
        if locked_share(bvp, fps, keyframes_s, rate_hz, first_s, last_s) < EXPLAINED:
            continue
        begin_s = max(0.0, min((first_s + last_s - CONTEXT_S) / 2, len(bvp) / fps - CONTEXT_S))
        context_s = min(first_s, begin_s), max(last_s, begin_s + CONTEXT_S)
        found[index] = locked_share(bvp, fps, keyframes_s, rate_hz, *context_s) >= EXPLAINED
    return found


def locked_share(
    bvp: Array, fps: float, keyframes_s: Array, rate_hz: float, first_s: float, last_s: float
) -> float:
    """Compute the share in 0..1 of the power around a rate that is locked to the keyframes.

    The wave is averaged synchronously to the keyframes, as a sum of the harmonics of their rhythm;
    the share is what this average explains of the power within `HALF_WIDTH_HZ`. It is 0 without a
    rhythm, or without a harmonic at the rate. The wave isn't tapered: its ends show a drift best.

    Args:
        bvp: `(T,)` the filtered wave.
        fps: its sampling rate in Hz.
        keyframes_s: `(K,)` from its first sample.
        rate_hz: heart rate in Hz.
        first_s: start of the part to look at, which is cut off at the wave's ends.
        last_s: end of that part.
    """
    first, last = max(0, round(first_s * fps)), min(len(bvp), round(last_s * fps))
    inside = keyframes_s[(keyframes_s >= first / fps) & (keyframes_s <= last / fps)]
    if not has_rhythm(inside):
        return 0.0
    rhythm_hz = 1 / float(np.median(np.diff(inside)))
    harmonic = round(rate_hz / rhythm_hz)
    length_s = (last - first) / fps
    if harmonic < 1 or abs(rate_hz - harmonic * rhythm_hz) > NEAR_S / length_s:
        return 0.0
    times_s = np.arange(first, last) / fps
    wave = bvp[first:last] - np.mean(bvp[first:last])
    cycles = _phase(times_s, inside, 1 / rhythm_hz)
    harmonics = np.arange(1, int(HIGH_HZ / rhythm_hz) + 1)
    locked = np.exp(2j * np.pi * cycles[:, None] * harmonics)
    basis = np.concatenate([locked.real, locked.imag], axis=1)
    rest = wave - basis @ np.linalg.lstsq(basis, wave, rcond=None)[0]
    power = _power_near(wave, fps, rate_hz)
    return float(max(0.0, 1 - _power_near(rest, fps, rate_hz) / power)) if power > 0 else 0.0


def _phase(times_s: Array, keyframes_s: Array, interval_s: float) -> Array:
    """Return the number of keyframes, with fractions, that passed at each time."""
    count = len(keyframes_s)
    before, after = times_s - keyframes_s[0], times_s - keyframes_s[-1]
    cycles = np.interp(times_s, keyframes_s, np.arange(count, dtype=np.float64))
    return np.asarray(
        cycles + np.minimum(before, 0) / interval_s + np.maximum(after, 0) / interval_s
    )


def _power_near(x: Array, fps: float, rate_hz: float) -> float:
    """Return the power of a wave within `HALF_WIDTH_HZ` of a rate."""
    size = 4 * len(x)
    near = np.abs(np.fft.rfftfreq(size, 1 / fps) - rate_hz) <= HALF_WIDTH_HZ
    return float(np.sum(np.abs(np.fft.rfft(x, size))[near] ** 2))
