"""The time for which a recording shows the face, and the heart rate of just that time.

A pulse needs seconds of a face, however long the recording goes on without one. So enough face is a
time, not a share.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.reference_traces import ReferenceTraces
from rppg.estimators.verified_rates import verify_rates
from rppg.signals import RELIABLE, RateSeries, rate_series
from rppg.signals.protocol import Measured, Protocol
from rppg.signals.spans import true_spans
from rppg.video.crop import HOLE_S

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Span = tuple[int, int]

LEAST_FACE_S = 5.0
"""Time of valid face that a heart rate needs."""
RELIABLE_FACE_S = 10.0
"""Time of valid face that a reliable heart rate needs."""
SLACK_S = 1e-3
"""So much less is still enough: the sum of rounded times."""
AGREE_BPM = 5.0
"""Spans whose heart rates differ by more don't support each other."""
TOO_SHORT = f"the face is in view for less than {RELIABLE_FACE_S:g} s"


def face_seconds(times_s: Array, valid: Mask) -> float:
    """Return the time for which the frames `(T,)` that show the face stand, in seconds.

    A frame stands for the time to the next one, but for no more than the longest gap without a
    hole; the last frame for the median of the others.
    """
    each = np.minimum(np.diff(times_s), HOLE_S)
    each = np.append(each, np.median(each)) if len(each) else np.zeros(len(times_s))
    return float(np.sum(each[valid]))


def is_short(times_s: Array, valid: Mask) -> bool:
    """Return whether the face is in view for too short a time to call a heart rate reliable."""
    return face_seconds(times_s, valid) < RELIABLE_FACE_S - SLACK_S


def least_share(window_s: float) -> float:
    """Return the share of a window of this length that must show the face: `LEAST_FACE_S` of it."""
    return min(1.0, LEAST_FACE_S / window_s)


def seen_spans(valid: Mask, protocol: Protocol) -> list[Span]:
    """Return the spans that the windows with enough face cover, each from a valid sample to one.

    Args:
        valid: `(T,)` on the protocol's grid.
        protocol: its windows, and the share of each that must be valid.
    """
    length = round(protocol.window_s * protocol.fps)
    before = np.concatenate([[0], np.cumsum(valid)])
    starts = np.flatnonzero(before[length:] - before[:-length] >= protocol.min_valid * length)
    change = np.zeros(len(valid) + 1, dtype=np.int64)
    change[starts] += 1
    change[starts + length] -= 1
    spans = []
    for first, end in true_spans(np.cumsum(change[:-1]) > 0):
        inside = first + np.flatnonzero(valid[first:end])
        spans.append((int(inside[0]), int(inside[-1]) + 1))
    return spans


def rate_of_spans(
    measured: Measured, spans: list[Span], traces: ReferenceTraces | None, protocol: Protocol
) -> RateSeries:
    """Return the heart rate of a whole recording, from the spans that show the face.

    It is the median of the spans' rates, weighted by their lengths. Its quality is the mean of
    their qualities with the same weights, in which spans with other rates count 0. One span that is
    the whole recording changes nothing; without any, there is no rate.

    Args:
        measured: the recording; its `clip` is of the whole, and verified.
        spans: see `seen_spans`.
        traces: by which the quality is verified; None if there are none.
        protocol: the filter and the spectrum.
    """
    clip = measured.clip
    whole = (0, len(measured.bvp))
    if spans == [whole] and np.all(np.isfinite(clip.hr_bpm)):
        return clip
    if not spans:
        return replace(clip, hr_bpm=np.full(1, np.nan), quality=np.zeros(1))
    rates = [_rate_of_span(measured.bvp, span, traces, protocol) for span in spans]
    if len(rates) == 1:
        return rates[0]
    lengths = np.array([end - first for first, end in spans], dtype=np.float64)
    hr_bpm = np.array([rate.hr_bpm[0] for rate in rates])
    lengths[np.isnan(hr_bpm)] = 0
    if not lengths.any():
        return replace(clip, hr_bpm=np.full(1, np.nan), quality=np.zeros(1))
    order = np.argsort(hr_bpm)
    middle = np.searchsorted(np.cumsum(lengths[order]), lengths.sum() / 2)
    hr = hr_bpm[order[middle]]
    quality = np.array([rate.quality[0] for rate in rates])
    agreeing = np.where(np.abs(hr_bpm - hr) <= AGREE_BPM, quality, 0.0)
    longest = rates[int(np.argmax(lengths))]
    return replace(
        longest, hr_bpm=np.array([hr]), quality=np.array([lengths @ agreeing / lengths.sum()])
    )


def _rate_of_span(
    bvp: Array, span: Span, traces: ReferenceTraces | None, protocol: Protocol
) -> RateSeries:
    """Return the heart rate of a span of the filtered wave `(T,)`, as if it were a recording."""
    wave = bvp[slice(*span)]
    length_s = len(wave) / protocol.fps
    rates = rate_series(
        wave,
        protocol.fps,
        length_s=length_s,
        stride_s=length_s,
        low_hz=protocol.low_hz,
        high_hz=protocol.high_hz,
    )
    start_s = span[0] / protocol.fps
    rates = replace(rates, start_s=rates.start_s + start_s, end_s=rates.end_s + start_s)
    return verify_rates(rates, wave[None], traces, protocol.fps)


def with_reason(reasons: Sequence[str | None], reason: str) -> tuple[str, ...]:
    """Return the reasons of windows `(W,)`, with `reason` where there was none."""
    return tuple(reason if before is None else before for before in reasons)


def limit_quality(rates: RateSeries) -> RateSeries:
    """Return rates of which none is reliable, for a recording with too little of a face."""
    below = np.nextafter(RELIABLE, 0)
    return replace(rates, quality=np.minimum(rates.quality, below))
