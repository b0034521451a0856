"""Heart rates whose quality is judged with the traces of the recording, too."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.estimators.reference_traces import ReferenceTraces
from rppg.signals import RateSeries, sliding_windows
from rppg.signals.protocol import Measured, Protocol, measure
from rppg.signals.pulse_evidence import PulseEvidence, no_evidence
from rppg.signals.quality import quality_of_features
from rppg.signals.rates import limit_by_windows
from rppg.signals.windows import batches_of_windows
from rppg.verification import References, judge, side_difference

Array = NDArray[np.float64]

PIECE_S = 10.0
"""Longer windows are judged in pieces of this length, which overlap by half: over a longer time a
head moves, and light and motion reach the skin otherwise."""
AROUND_S = 10.0
"""A window's score, and the side on which its wave is stronger, are means up to this far before and
after it: those of a single one are noisy."""
JUDGED = ("agreement", "light", "motion", "light_line", "motion_line")


def verify(
    measured: Measured,
    traces: ReferenceTraces | None,
    protocol: Protocol,
    second: Measured | None = None,
) -> Measured:
    """Return the measurement with the quality of its windows, and of the whole, by the traces.

    Args:
        measured: a method's wave.
        traces: of the recording; None if there are none.
        protocol: of the measurement.
        second: the second method's wave in the traces, if it has been measured.
    """
    if traces is None:
        return measured
    second = second or measure_second(traces, protocol)
    whole = measured.bvp[None]
    windows = verify_rates(
        measured.windows, measured.parts, traces, protocol.fps, second.windows.hr_bpm
    )
    clip = verify_rates(measured.clip, whole, traces, protocol.fps, second.clip.hr_bpm)
    return replace(measured, windows=windows, clip=limit_by_windows(clip, windows))


def measure_second(traces: ReferenceTraces, protocol: Protocol) -> Measured:
    """Measure the second method's wave of the traces."""
    return measure(traces.second.astype(np.float64), protocol)


def verify_rates(
    rates: RateSeries, windows: Array, traces: ReferenceTraces, fps: float, second_bpm: Array
) -> RateSeries:
    """Return the rates with evidence and the quality that follows from it.

    Args:
        rates: of the windows, with the features of their quality.
        windows: `(W, L)` the filtered wave in each.
        traces: of the whole recording, on the wave's grid.
        fps: rate of that grid in Hz.
        second_bpm: `(W,)` heart rates by a second method; NaN where there is none.

    Raises:
        ValueError: rates without features.
    """
    if rates.features is None:
        raise ValueError("rates without features; give those of rate_series or measure")
    evidence = find_evidence(rates, windows, traces, fps)
    evidence = replace(evidence, second_bpm=np.abs(rates.hr_bpm - second_bpm))
    index = quality_of_features(rates.features, evidence)
    return replace(rates, quality=np.where(rates.quality > 0, index, 0.0), evidence=evidence)


def find_evidence(
    rates: RateSeries, windows: Array, traces: ReferenceTraces, fps: float
) -> PulseEvidence:
    """Compute the evidence on windows `(W, L)` at their heart rates; NaN without a heart rate."""
    known = np.flatnonzero(np.isfinite(rates.hr_bpm) & np.all(np.isfinite(windows), axis=-1))
    found = no_evidence(len(windows))
    if len(known) == 0:
        return found
    length_s = windows.shape[-1] / fps
    piece_s = min(PIECE_S, length_s)
    offset_s, pieces = sliding_windows(windows[known], fps, length_s=piece_s, stride_s=piece_s / 2)
    starts = np.round((rates.start_s[known, None] + offset_s) * fps).astype(int).ravel()
    rate_hz = np.repeat(rates.hr_bpm[known] / 60, len(offset_s))
    pieces = pieces.reshape(len(starts), -1)
    judged = np.concatenate(
        [
            _judge(pieces[i], starts[i], rate_hz[i], traces, fps)
            for i in batches_of_windows(len(starts))
        ]
    ).reshape(len(known), len(offset_s), 1 + len(JUDGED))
    power = judged[..., 0] + 1e-30
    values = np.sum(power[..., None] * judged[..., 1:], axis=1) / np.sum(power, axis=1)[:, None]
    for name, column in zip(JUDGED, values.T, strict=True):
        getattr(found, name)[known] = column
    found.score[known] = _scores(rates, traces, fps)[known]
    found.side[known] = _sides(rates, known, windows.shape[-1], traces, fps)
    return found


def _scores(rates: RateSeries, traces: ReferenceTraces, fps: float) -> Array:
    """Return the mean score `(W,)` in and around windows."""
    total = np.concatenate([[0.0], np.cumsum(traces.score, dtype=np.float64)])
    last = len(total) - 1
    first = np.clip(np.round((rates.start_s - AROUND_S) * fps).astype(int), 0, last - 1)
    end = np.clip(np.round((rates.end_s + AROUND_S) * fps).astype(int), first + 1, last)
    return np.asarray((total[end] - total[first]) / (end - first))


@torch.inference_mode()
def _sides(
    rates: RateSeries, known: NDArray[np.intp], length: int, traces: ReferenceTraces, fps: float
) -> Array:
    """Return the mean difference between the sides in and around the known windows, `(W,)`.

    Args:
        rates: of all windows.
        known: `(W,)` the indices of those with a rate.
        length: of a window in samples.
        traces: of the whole recording.
        fps: rate of the grid in Hz.
    """
    piece = min(round(PIECE_S * fps), length)
    step, around = max(1, piece // 2), round(AROUND_S * fps)
    offsets = np.arange(-(around // step), (length + around - piece) // step + 1) * step
    starts = np.round(rates.start_s[known, None] * fps).astype(int) + offsets
    inside = (starts >= 0) & (starts + piece <= traces.rows.shape[-1])
    window, _ = np.nonzero(inside)
    first = starts[inside]
    rate_hz = torch.from_numpy(rates.hr_bpm[known[window]].astype(np.float32) / 60)
    found = np.concatenate(
        [
            side_difference(
                _cut(traces.regions, first[i], piece),
                _cut(traces.attention, first[i], piece).mean(-1),
                rate_hz[i],
                fps,
            ).numpy()
            for i in batches_of_windows(len(first))
        ]
    )
    return np.bincount(window, found, len(known)) / np.bincount(window, minlength=len(known))


@torch.inference_mode()
def _judge(
    waves: Array, starts: NDArray[np.intp], rate_hz: Array, traces: ReferenceTraces, fps: float
) -> Array:
    """Return the power of waves `(W, L)` at their rates, and the evidence there: `(W, 6)`."""

    def cut(rows: NDArray[np.float32]) -> Tensor:
        return _cut(rows, starts, waves.shape[-1])

    scale = np.maximum(np.std(waves, axis=-1, keepdims=True), 1e-30)
    evidence = judge(
        torch.from_numpy((waves / scale).astype(np.float32)),
        References(cut(traces.light), cut(traces.motion), cut(traces.seen).mean(-1)),
        fps,
        regions=cut(traces.regions),
        attention=cut(traces.attention).mean(-1),
    )
    distance = (evidence.hz - torch.from_numpy(rate_hz.astype(np.float32))[:, None]).abs()
    columns = torch.stack([getattr(evidence, name) for name in ("power", *JUDGED)], -1)
    at_rate = columns.take_along_dim(distance.argmin(-1)[:, None, None], 1)[:, 0].double().numpy()
    at_rate[:, 0] *= scale[:, 0] ** 2
    return np.asarray(at_rate)


def _cut(rows: NDArray[np.float32], starts: NDArray[np.intp], length: int) -> Tensor:
    """Return `(W, rows, length)`: the rows `(rows, T)` from each of W starts on."""
    index = starts[:, None] + np.arange(length)
    return torch.from_numpy(np.ascontiguousarray(rows[:, index].swapaxes(0, 1)))
