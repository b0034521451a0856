"""The measurement of an estimate, stretch by stretch, with quality by evidence from the video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.objections import Objections, lower_quality
from rppg.estimators.reference_traces import ReferenceTraces, cut_traces
from rppg.estimators.streaming import Estimate
from rppg.estimators.verified_rates import find_evidence, measure_second, verify, verify_rates
from rppg.signals import (
    RELIABLE,
    Beats,
    RateSeries,
    Variability,
    continuous_rate_series,
    local_rate_hz,
    rate_series,
    refine,
    valid_share,
    variability_of_wave,
)
from rppg.signals.face_time import Span, least_share, seen_spans
from rppg.signals.protocol import Measured, Protocol, measure
from rppg.signals.pulse_evidence import PulseEvidence, no_evidence
from rppg.signals.quality import quality_of_features
from rppg.signals.rates import limit_by_windows
from rppg.signals.reasons import CUT
from rppg.signals.stretches import join_beats, join_rates, pool_evidence, pooled_rate

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BEAT_QUALITY = 0.8
"""Minimum quality of windows that are searched for beats: variability needs more than a rate."""


@dataclass(frozen=True)
class MeasuredEstimate:
    """The measurement of an estimate on its grid `(N,)`, in W windows; none spans a long gap.

    Attributes:
        bvp: `(N,)` filtered.
        refined: `(N,)` refined where the pulse is reliable.
        windows: heart rates and quality.
        continuous: the windows with the rates that are the most likely together.
        in_view: `(W,)` whether enough of the window shows the face.
        objections: what the judge said against each window.
        whole: heart rate of all stretches.
        whole_in_view: `(1,)` whether enough of any stretch shows the face.
        whole_objections: the same for the whole.
        beats: where the pulse is reliable.
        hrv: variability of the stretch with most of them, or the reason why it is undefined.
    """

    bvp: Array
    refined: Array
    windows: RateSeries
    continuous: RateSeries
    in_view: Mask
    objections: Objections
    whole: RateSeries
    whole_in_view: Mask
    whole_objections: Objections
    beats: Beats
    hrv: Variability | str


@dataclass(frozen=True)
class Stretch:
    """The measurement of a stretch of T samples.

    Attributes:
        protocol: by which it was measured.
        valid: `(T,)` whether the face was in view.
        measured: its wave and heart rates, verified.
        traces: by which it was verified; None if there is no network for them.
    """

    protocol: Protocol
    valid: Mask
    measured: Measured
    traces: ReferenceTraces | None

    @property
    def in_view(self) -> Mask:
        """`(W,)` whether enough of each window shows the face."""
        p = self.protocol
        share = valid_share(self.valid, p.fps, length_s=p.window_s, stride_s=p.stride_s)
        return np.asarray(share >= p.min_valid)


@dataclass(frozen=True)
class _SeenPart:
    """A part of a stretch that shows the face: its wave `(T,)`, traces, and start in seconds."""

    wave: Array
    traces: ReferenceTraces | None
    start_s: float


Judge = Callable[[RateSeries, Array, float], Objections]
"""A function of the rates `(W,)` of a stretch, its filtered wave `(T,)`, and the time in seconds at
which it starts."""


def measure_estimate(
    estimated: Estimate, valid: Mask, protocol: Protocol, judge: Judge
) -> MeasuredEstimate:
    """Measure an estimate: a window each second, of a stretch shorter than a window one.

    Args:
        estimated: with traces, which verify it, if there is a network for them.
        valid: `(N,)` whether the face was in view, on the grid.
        protocol: its stride is not used.
        judge: what else speaks against a rate; its quality is then 0.
    """
    fps = protocol.fps
    first_s = [float(estimated.grid_s[part.start]) for part in estimated.stretches]
    start_s = [s - float(estimated.times_s[0]) for s in first_s]
    stretches = [measure_stretch(estimated, part, valid, protocol) for part in estimated.stretches]
    windows, refined = [], []
    beats: list[Beats] = []
    hrv: list[Variability | str] = []
    objections: list[str | None] = []
    for stretch, s in zip(stretches, first_s, strict=True):
        bvp = stretch.measured.bvp
        against = judge(stretch.measured.windows, bvp, s)
        rates = lower_quality(stretch.measured.windows, against)
        rate_hz = local_rate_hz(rates, fps, len(bvp), BEAT_QUALITY)
        found, own_hrv = variability_of_wave(bvp, fps, np.where(stretch.valid, rate_hz, np.nan))
        beats.append(found)
        hrv.append(own_hrv)
        refined.append(refine(bvp, local_rate_hz(rates, fps, len(bvp), RELIABLE), fps))
        windows.append(rates)
        objections += against
    seen = [seen_spans(s.valid, fps, s.protocol.window_s) for s in stretches]
    if len(stretches) == 1 and seen[0] == [(0, len(stretches[0].valid))]:
        whole = stretches[0].measured.clip
        whole_against = judge(whole, stretches[0].measured.bvp, first_s[0])
    else:
        parts = [
            _seen_part(stretch, span, at, fps)
            for stretch, spans, at in zip(stretches, seen, first_s, strict=True)
            for span in spans
        ]
        span_s = start_s[-1] + len(stretches[-1].valid) / fps
        whole, whole_against = _measure_whole(parts, span_s, protocol, judge)
    scenes = {scene for scene, spans in zip(estimated.scenes, seen, strict=True) if spans}
    if len(scenes) > 1:
        whole_against = (CUT,)
    joined = join_rates(windows, start_s)
    continuous = join_rates([_continuous(stretch) for stretch in stretches], start_s)
    return MeasuredEstimate(
        bvp=np.concatenate([s.measured.bvp for s in stretches]),
        refined=np.concatenate(refined),
        windows=joined,
        continuous=replace(continuous, quality=joined.quality),
        in_view=np.concatenate([stretch.in_view for stretch in stretches]),
        objections=tuple(objections),
        whole=lower_quality(limit_by_windows(whole, joined), whole_against),
        whole_in_view=np.array([any(seen)]),
        whole_objections=whole_against,
        beats=join_beats(beats, start_s),
        hrv=hrv[int(np.argmax([part.seconds for part in beats]))],
    )


def _seen_part(stretch: Stretch, span: Span, start_s: float, fps: float) -> _SeenPart:
    part = slice(*span)
    traces = None if stretch.traces is None else cut_traces(stretch.traces, part)
    return _SeenPart(stretch.measured.bvp[part], traces, start_s + span[0] / fps)


def _measure_whole(
    parts: Sequence[_SeenPart], span_s: float, protocol: Protocol, judge: Judge
) -> tuple[RateSeries, Objections]:
    """Return the rate of all parts that show the face, and what speaks against it.

    An objection counts if it holds for at least half of their time.
    """
    fps, start, end = protocol.fps, np.zeros(1), np.array([span_s])
    waves = [part.wave for part in parts]
    if not parts:
        return RateSeries(start, end, np.full(1, np.nan), np.zeros(1)), (None,)
    if len(parts) == 1:
        return _measure_part(parts[0], protocol, judge)
    bpm, features = pooled_rate(waves, fps, protocol.low_hz, protocol.high_hz)
    found: list[PulseEvidence] = []
    objections: list[str | None] = []
    for part in parts:
        wave = part.wave[None]
        end_s = np.array([len(part.wave) / fps])
        rates = RateSeries(np.zeros(1), end_s, np.array([bpm]), np.ones(1))
        found.append(
            no_evidence(1) if part.traces is None else find_evidence(rates, wave, part.traces, fps)
        )
        objections += judge(rates, part.wave, part.start_s)
    seconds = [len(wave) / fps for wave in waves]
    evidence = replace(
        pool_evidence(found, seconds),
        second_bpm=np.array([abs(bpm - _second_bpm(parts, protocol))]),
    )
    whole = RateSeries(
        start,
        end,
        np.array([bpm]),
        quality_of_features(features[None], evidence),
        evidence,
        features[None],
    )
    objected_s = sum(s for reason, s in zip(objections, seconds, strict=True) if reason is not None)
    reason = next((reason for reason in objections if reason is not None), None)
    return whole, (reason if 2 * objected_s >= sum(seconds) else None,)


def _second_bpm(parts: Sequence[_SeenPart], protocol: Protocol) -> float:
    """Return the heart rate of all parts by the second method; NaN if it has none of some."""
    waves = []
    for part in parts:
        if part.traces is None or np.isnan(part.traces.second).any():
            return np.nan
        waves.append(measure_second(part.traces, protocol).bvp)
    return pooled_rate(waves, protocol.fps, protocol.low_hz, protocol.high_hz)[0]


def _measure_part(
    part: _SeenPart, protocol: Protocol, judge: Judge
) -> tuple[RateSeries, Objections]:
    """Return the rate of the only part that shows the face, as if it were the recording."""
    fps, length_s = protocol.fps, len(part.wave) / protocol.fps
    rates = rate_series(
        part.wave,
        fps,
        length_s=length_s,
        stride_s=length_s,
        low_hz=protocol.low_hz,
        high_hz=protocol.high_hz,
    )
    if part.traces is not None:
        second = measure_second(part.traces, protocol).clip
        rates = verify_rates(rates, part.wave[None], part.traces, fps, second.hr_bpm)
    return rates, judge(rates, part.wave, part.start_s)


def measure_stretch(
    estimated: Estimate, part: slice, valid: Mask, protocol: Protocol, stride_s: float = 1.0
) -> Stretch:
    """Measure a stretch of an estimate in windows, of no more than its length, and verify them.

    Args:
        estimated: with traces, which verify it, if there is a network for them.
        part: the stretch on the grid.
        valid: `(N,)` whether the face was in view, on the whole grid.
        protocol: its stride and least share of valid samples are not used.
        stride_s: time between the starts of two windows in seconds.
    """
    bvp, valid = estimated.bvp[part], valid[part]
    window_s = min(protocol.window_s, len(bvp) / protocol.fps)
    protocol = replace(
        protocol, window_s=window_s, stride_s=stride_s, min_valid=least_share(window_s)
    )
    traces = None if estimated.traces is None else cut_traces(estimated.traces, part)
    measured = verify(measure(bvp, protocol, valid=valid), traces, protocol)
    return Stretch(protocol, valid, measured, traces)


def _continuous(stretch: Stretch) -> RateSeries:
    protocol, measured = stretch.protocol, stretch.measured
    return continuous_rate_series(
        measured.bvp,
        protocol.fps,
        valid=stretch.valid,
        length_s=protocol.window_s,
        stride_s=protocol.stride_s,
        low_hz=protocol.low_hz,
        high_hz=protocol.high_hz,
        min_valid=protocol.min_valid,
        rates=replace(measured.windows, evidence=None),
    )
