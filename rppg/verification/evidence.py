"""The evidence that a wave is a pulse, at each frequency of the band."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, interpolate, max_pool1d, pad

from rppg.verification.references import References
from rppg.verification.spectra import frequencies, short_time_spectrum, spectrum_at

LINE_HZ = 0.15
"""Half width of a spectral line. That of a Hann window of 10 s is 0.2 Hz at its base."""
STEP_HZ = 1 / 60
SHORT_S, SHORT_STEP_HZ = 2.5, 0.1
"""Windows over which phases are compared: as long as two or three beats, so that a wave and a
reference of slightly different rates, or a short disturbance, don't agree by chance."""
LIGHT_FLOOR, MOTION_FLOOR = 3e-5, 1e-4
"""Amplitude of a reference, in its unit, at which its coherence counts half. Smaller ones are the
sensor's noise or, in the motion, a trace of the pulse itself."""
NEAR_HZ = 0.05
"""Distance at which a reference's line counts: the wave may peak a little beside it."""
LIGHT_LINE, MOTION_LINE = 20.0, 12.0
"""Power of a reference over its typical power at which its line counts half. The highest of a
noise's peaks reaches about six."""
LIGHT_SPAN_HZ = 0.6
"""Half width of the band of the light's typical power: daylight is redder than a lamp's flicker.
The motion's is the whole band."""
MOVING = 1e-3
"""Amplitude of the motion, as a share of the crop's side, from which its lines count. A head that
nods with the pulse moves less."""
TINY = 1e-30
AVERAGED = ("agreement", "light", "motion")


@dataclass(frozen=True)
class Evidence:
    """The evidence at frequencies `hz` `(F,)`; the other tensors are `(..., F)`, in 0..1 but for
    `power`.

    Attributes:
        power: of the wave.
        share: of the in-band power within a line at this frequency and at its double.
        agreement: of the regions: 1 if all are in phase, 1 / R if their phases are random.
        light: squared coherence with the background trace that explains the wave best.
        motion: the same with the head's motion.
        light_line: how far the light has a line of its own. A wave from which it was cancelled may
            have lost its coherence with it, but keeps its frequency.
        motion_line: the same of the motion.
    """

    hz: Tensor
    power: Tensor
    share: Tensor
    agreement: Tensor
    light: Tensor
    motion: Tensor
    light_line: Tensor
    motion_line: Tensor

    @property
    def gain(self) -> Tensor:
        """The share of the power at each frequency that is a pulse's, as of a Wiener filter."""
        explained = torch.maximum(self.light, self.motion)
        return self.agreement * (1 - explained)

    @property
    def peak(self) -> Tensor:
        """The index `(...)` of the strongest frequency."""
        return self.power.argmax(-1)

    @property
    def rate_hz(self) -> Tensor:
        """The strongest frequency `(...)` in Hz."""
        return self.hz[self.peak]

    def at_peak(self, values: Tensor) -> Tensor:
        """Return `values` `(..., F)` at the strongest frequency, `(...)`."""
        return values.gather(-1, self.peak[..., None])[..., 0]

    @property
    def line(self) -> Tensor:
        """The score `(...)` in 0..1: that of the strongest frequency."""
        return self.at_peak(self.scores)

    @property
    def scores(self) -> Tensor:
        """`share · gain` of each frequency, less where light or motion have a line."""
        line = torch.maximum(self.light_line, self.motion_line)
        return self.share * self.gain * (1 - line)


@torch.no_grad()
def judge(
    wave: Tensor,
    references: References,
    fps: float,
    *,
    regions: Tensor | None = None,
    attention: Tensor | None = None,
    low_hz: float = 0.6,
    high_hz: float = 3.3,
) -> Evidence:
    """Compute the evidence that waves are a pulse.

    Args:
        wave: `(B, ..., T)`, band-limited, any units.
        references: traces of the same B clips.
        fps: sampling rate in Hz.
        regions: `(B, ..., R, T)` the waves of the face's regions in one unit; None if the method
            has only one wave: the agreement is then 1.
        attention: `(B, R)` the regions' shares of the skin; None if they are equal.
        low_hz, high_hz: the pulse's band.
    """
    hz, power = power_of(wave, fps, low_hz, high_hz)
    distance = (hz - hz[:, None]).abs(), (hz - 2 * hz[:, None]).abs()
    # Frequencies on a line's edge count half, so that rounding decides nothing.
    near = ((LINE_HZ - torch.minimum(*distance)) / STEP_HZ + 0.5).clamp(0, 1)  # (line, F)
    share = power @ near.mT / power.sum(-1, keepdim=True).clamp(min=TINY)

    coarse = frequencies(low_hz, high_hz, SHORT_STEP_HZ, wave)
    spectrum = short_time_spectrum(wave, coarse, fps, SHORT_S)
    light = _explained(spectrum, references.light, LIGHT_FLOOR, coarse, fps)
    light = (light * _between(references.seen, light.ndim - 1)[..., None]).amax(-2)
    motion = _explained(spectrum, references.motion, MOTION_FLOOR, coarse, fps).amax(-2)
    if regions is None:
        agreement = torch.ones_like(light)
    else:
        agreement = _agreement(regions, attention, coarse, fps)
    agreement, light, motion = (_resample(x, len(hz)) for x in (agreement, light, motion))
    lines = (_between(x, power.ndim).expand_as(power) for x in _lines(references, hz, fps))
    return Evidence(hz, power, share, agreement, light, motion, *lines)


def join_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Join the evidence of several batches of waves at the same frequencies."""

    def join(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    names = [field.name for field in fields(Evidence) if field.name != "hz"]
    return replace(parts[0], **{name: join(name) for name in names})


def average_evidence(evidence: Evidence, weights: Tensor) -> Evidence:
    """Average the agreement, and what light and motion explain, over the clips of a recording.

    In a single clip of low signal-to-noise ratio they are estimates from a few short windows. The
    power and its share stay the clip's own, so this makes no two clips have one heart rate.

    Args:
        evidence: of N waves, `(N, F)`.
        weights: `(N, N)`: row i has those of the clips for clip i.
    """
    weights = weights / weights.sum(-1, keepdim=True)
    return replace(evidence, **{name: weights @ getattr(evidence, name) for name in AVERAGED})


def power_of(wave: Tensor, fps: float, low_hz: float, high_hz: float) -> tuple[Tensor, Tensor]:
    """Return the frequencies `(F,)` of the evidence, and the power `(..., F)` of waves there."""
    hz = frequencies(low_hz, high_hz, STEP_HZ, wave)
    return hz, spectrum_at(wave, hz, fps).square().sum(-1)


def region_weights(regions: Tensor, attention: Tensor | None) -> Tensor:
    """Return the weights `(B, ..., R)` of regions `(B, ..., R, T)`, which sum to 1.

    They grow with the attention `(B, R)` and fall with the power: a loud region is noisy.
    """
    weight = 1 / (regions.square().mean(-1) + 1e-14)
    if attention is not None:
        weight = weight * _between(attention, weight.ndim)
    return weight / weight.sum(-1, keepdim=True)


def _agreement(regions: Tensor, attention: Tensor | None, hz: Tensor, fps: float) -> Tensor:
    """Return the power of the regions' mean as a share of their mean power, `(..., F)`."""
    weight = region_weights(regions, attention)[..., None]

    def power(x: Tensor) -> Tensor:
        return short_time_spectrum(x, hz, fps, SHORT_S).square().sum((-1, -2))  # (..., F)

    together = power((weight * regions).sum(-2))
    return together / (weight * power(regions)).sum(-2).clamp(min=TINY)


def _explained(
    spectrum: Tensor, references: Tensor, floor: float, hz: Tensor, fps: float
) -> Tensor:
    """Return the share `(B, ..., M, F)` of waves' power that each reference explains.

    It is their squared coherence over the N windows, which is 1 if amplitude ratio and phase are
    the same in all of them, times P / (P + floor²) of a reference of power P.

    Args:
        spectrum: `(B, ..., F, N, 2)` of the waves.
        references: `(B, M, T)`.
    """
    there = short_time_spectrum(references, hz, fps, SHORT_S)
    power = there.square().sum(-1).mean(-1)
    there = _between(there, spectrum.ndim + 1, keep=4)
    a, b = spectrum.unsqueeze(-4).unbind(-1)
    c, d = there.unbind(-1)
    cross = (a * c + b * d).sum(-1).square() + (b * c - a * d).sum(-1).square()
    both = spectrum.square().sum((-1, -2)).unsqueeze(-2) * there.square().sum((-1, -2))
    heard = _between(power / (power + floor**2), spectrum.ndim - 1, keep=2)
    return heard * cross / both.clamp(min=TINY)


def _lines(references: References, hz: Tensor, fps: float) -> tuple[Tensor, Tensor]:
    """Return how far light and motion have a line at the frequencies, each `(B, F)` in 0..1."""
    light = _line(references.light, LIGHT_LINE, LIGHT_FLOOR, LIGHT_SPAN_HZ, hz, fps)
    light = (light * references.seen[..., None]).amax(1)
    motion = _line(references.motion, MOTION_LINE, MOVING, None, hz, fps).amax(1)
    return light, motion


def _line(
    references: Tensor, half: float, floor: float, span_hz: float | None, hz: Tensor, fps: float
) -> Tensor:
    """Return how far each of the references `(B, M, T)` has a line: `(B, M, F)` in 0..1.

    It is c² / (c² + half²) of a contrast c, the power over the geometric mean of the powers within
    `span_hz`, or of all. Lines of less power than `floor²` fade out.
    """
    power = spectrum_at(references, hz, fps).square().sum(-1)
    level = (power + TINY).log()
    if span_hz is None:
        typical = level.mean(-1, keepdim=True)
    else:
        span = min(round(span_hz / STEP_HZ), level.shape[-1] - 1)
        typical = avg_pool1d(pad(level, (span, span), mode="reflect"), 2 * span + 1, 1)
    line = torch.sigmoid(2 * (level - typical - math.log(half))) * power / (power + floor**2)
    near = round(NEAR_HZ / STEP_HZ)
    return max_pool1d(line, 2 * near + 1, 1, near)


def _between(x: Tensor, ndim: int, keep: int = 1) -> Tensor:
    """Insert axes of size 1 after the first axis of `(B, ...)`, before the last `keep`."""
    return x.reshape(x.shape[0], *([1] * (ndim - 1 - keep)), *x.shape[-keep:])


def _resample(values: Tensor, size: int) -> Tensor:
    """Interpolate `(..., F)` linearly to `size` frequencies."""
    flat = values.flatten(0, -2)[:, None]
    fine = interpolate(flat, size=size, mode="linear", align_corners=True)
    return fine[:, 0].unflatten(0, values.shape[:-1])
