"""Evaluation of every estimator on every recording, under one protocol."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.data.provenance import data_provenance
from rppg.errors import InputError
from rppg.estimators.estimator import ConstantGuess, Estimator
from rppg.estimators.fcus import find_traces, wave_and_traces
from rppg.estimators.find import reference_estimator
from rppg.estimators.reference_traces import ReferenceTraces
from rppg.estimators.verified_rates import verify
from rppg.evaluation.journal import Journal
from rppg.evaluation.metrics import snr_db
from rppg.evaluation.results import Evaluation, Failure, Outcome, Row, Waveform
from rppg.evaluation.waveform import beat_error_ms, lagged_correlation, macc, sine_correlation
from rppg.signals import resample, resample_frames, rppg_toolbox, uniform_grid
from rppg.signals.protocol import Measured, Protocol, measure
from rppg.types import Pulse, Recording
from rppg.video.threads import one_thread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PreparedRecording:
    """A recording on the protocol's grid, ready for every method.

    Attributes:
        recording: the recording.
        grid_s: `(T,)` the uniform grid of both frames and ground truth.
        frames: `(T, S, S, C)` crops on the grid, 0–255.
        in_view: `(T,)` whether the face is in view.
        truth: the measured ground truth.
        fps: rate of the grid in Hz.
    """

    recording: Recording
    grid_s: Array
    frames: NDArray[np.float32]
    in_view: NDArray[np.bool_]
    truth: Measured
    fps: float

    @functools.cached_property
    def traces(self) -> ReferenceTraces | None:
        """The traces by which waves are verified, for methods that have none of their own."""
        with one_thread():
            return find_traces(reference_estimator(), self.frames, self.fps)


def evaluate(
    recordings: Iterable[Recording],
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol | None = None,
    progress: Callable[[Recording], None] | None = None,
    journal: Journal | None = None,
) -> Evaluation:
    """Evaluate every estimator on every recording.

    A recording that can't be read or has no ground truth becomes a `Failure`, and the evaluation
    continues. So does an estimator that raises `InputError` on a recording; its windows then count
    as not covered. Each recording is read once and kept in memory only while it is evaluated.

    Args:
        recordings: recordings with ground truth.
        estimators: estimators by their name in the table.
        protocol: settings; the default protocol if None.
        progress: called with each recording after its evaluation.
        journal: file that keeps the outcome of each recording. Those in it are not evaluated again.

    Raises:
        InputError: no estimators, or a journal of another evaluation.
    """
    protocol = protocol or Protocol()
    if not estimators:
        raise InputError("there is nothing to evaluate; give at least one method or checkpoint")
    known_outcomes = {} if journal is None else journal.open()
    outcomes: list[Outcome] = []
    examples: dict[str, int] = {}
    evaluated: list[Recording] = []
    for recording in recordings:
        key = recording.dataset, recording.name
        outcome = known_outcomes.get(key)
        if outcome is None:
            example = examples.get(recording.dataset, 0) < protocol.examples
            outcome = evaluate_recording(recording, estimators, protocol, example=example)
            if journal is not None:
                journal.add(key, outcome)
        if outcome.readable:
            examples[recording.dataset] = examples.get(recording.dataset, 0) + 1
        evaluated.append(recording)
        outcomes.append(outcome)
        if progress is not None:
            progress(recording)
    failures = tuple(failure for outcome in outcomes for failure in outcome.failures)
    return Evaluation(
        settings=asdict(protocol),
        windows=tuple(row for outcome in outcomes for row in outcome.windows),
        clips=tuple(row for outcome in outcomes for row in outcome.clips),
        waveforms=tuple(wave for outcome in outcomes for wave in outcome.waveforms),
        failures=failures,
        data=data_provenance(
            evaluated, {(f.dataset, f.record) for f in failures if f.method is None}
        ),
    )


def evaluate_recording(
    recording: Recording,
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol,
    *,
    example: bool,
) -> Outcome:
    """Evaluate every estimator on one recording; `example`: keep its waveforms."""
    try:
        prepared = prepare(recording, protocol)
    except InputError as error:
        return Outcome(failures=(Failure(recording.dataset, recording.name, None, str(error)),))
    windows: list[Row] = []
    clips: list[Row] = []
    waveforms: list[Waveform] = []
    failures: list[Failure] = []
    for name, estimator in estimators.items():
        predicted = None
        if not isinstance(estimator, ConstantGuess):
            try:
                bvp, own_traces = _estimate(name, estimator, prepared, protocol)
            except InputError as error:
                failures.append(Failure(recording.dataset, recording.name, name, str(error)))
                bvp, own_traces = np.full(len(prepared.grid_s), np.nan), None
            predicted = measure(bvp, protocol, valid=prepared.in_view)
            predicted = verify(predicted, own_traces or prepared.traces, protocol)
        guess = estimator.bpm if isinstance(estimator, ConstantGuess) else math.nan
        windows += _rows(prepared, name, predicted, guess, protocol, whole=False)
        clips += _rows(prepared, name, predicted, guess, protocol, whole=True)
        if predicted is not None and example:
            waveforms.append(
                Waveform(
                    recording.dataset,
                    recording.name,
                    name,
                    prepared.grid_s,
                    prepared.truth.bvp,
                    predicted.bvp,
                )
            )
    return Outcome(tuple(windows), tuple(clips), tuple(waveforms), tuple(failures))


def prepare(recording: Recording, protocol: Protocol) -> PreparedRecording:
    """Read a recording and resample its crops and ground truth to the protocol's grid.

    Raises:
        InputError: it can't be read, has no ground truth, or they have too little time in common.
    """
    if recording.load_truth is None:
        raise InputError(
            f"{recording.name} has no ground truth; it can be trained on, not evaluated"
        )
    truth = _finite_part(recording.load_truth(), recording)
    crops = recording.load_crops()
    start = max(truth.times_s[0], crops.times_s[0])
    end = min(_end_s(truth.times_s), _end_s(crops.times_s))
    if end - start < 2 / protocol.low_hz:
        raise InputError(
            f"{recording.name}: video ({crops.times_s[0]:.1f}–{crops.times_s[-1]:.1f} s) and "
            f"ground truth ({truth.times_s[0]:.1f}–{truth.times_s[-1]:.1f} s) share "
            f"{max(0.0, end - start):.1f} s; at least {2 / protocol.low_hz:.1f} s are needed"
        )
    grid = uniform_grid([start, end - 1 / protocol.fps], protocol.fps)
    labelled = _covered(truth.times_s, grid, protocol.max_gap_s)
    in_view = _covered(crops.times_s, grid, protocol.max_gap_s)
    in_view &= resample(crops.valid, crops.times_s, grid) > 0.5
    label = resample(truth.bvp, truth.times_s, grid)
    return PreparedRecording(
        recording=recording,
        grid_s=grid,
        frames=resample_frames(crops.frames, crops.times_s, grid),
        in_view=in_view,
        truth=measure(label, replace(protocol, min_valid=0.9, continuity=False), valid=labelled),
        fps=protocol.fps,
    )


def _finite_part(truth: Pulse, recording: Recording) -> Pulse:
    """Return the samples that are finite and whose times increase."""
    keep = np.isfinite(truth.bvp) & np.isfinite(truth.times_s)
    latest = np.maximum.accumulate(np.where(keep, truth.times_s, -np.inf))
    keep[1:] &= truth.times_s[1:] > latest[:-1]
    if np.sum(keep) < 2:
        raise InputError(
            f"{recording.name}: the ground truth has {int(np.sum(keep))} usable samples of "
            f"{len(keep)}; check its file"
        )
    return Pulse(truth.times_s[keep], truth.bvp[keep])


def _end_s(times_s: Array) -> float:
    """Return the end of the last sample's interval: 400 frames at 20 fps last 20 s, not 19.95 s."""
    return float(times_s[-1] + np.median(np.diff(times_s)))


def _covered(times_s: Array, grid_s: Array, max_gap_s: float) -> NDArray[np.bool_]:
    """Return whether each grid point lies outside of gaps longer than `max_gap_s`."""
    after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    return np.asarray(times_s[after] - times_s[after - 1] <= max_gap_s)


def _estimate(
    name: str, estimator: Estimator, prepared: PreparedRecording, protocol: Protocol
) -> tuple[Array, ReferenceTraces | None]:
    with one_thread():  # the network takes 0.05 s for 20 s, with two threads 0.06 to 0.7 s
        bvp, traces = wave_and_traces(estimator, prepared.frames, protocol.fps)
    if bvp.shape != prepared.grid_s.shape:
        raise ValueError(
            f"estimator {name!r} gave shape {bvp.shape} for {len(prepared.grid_s)} frames; "
            f"it must give {prepared.grid_s.shape}"
        )
    return bvp, traces


def _snr_db(bvp: Array, hr_true_bpm: float, protocol: Protocol) -> float:
    if protocol.name == "toolbox":
        band = (protocol.low_hz, protocol.high_hz)
        return float(rppg_toolbox.snr_db(bvp, protocol.fps, hr_true_bpm, *band))
    return float(snr_db(bvp, protocol.fps, hr_true_bpm))


def _rows(
    prepared: PreparedRecording,
    method: str,
    predicted: Measured | None,
    guess_bpm: float,
    protocol: Protocol,
    *,
    whole: bool,
) -> list[Row]:
    """Return a row for each window (or one for the clip); without `predicted`, of `guess_bpm`."""
    recording, fps = prepared.recording, protocol.fps
    truth = prepared.truth.clip if whole else prepared.truth.windows
    rates = None if predicted is None else (predicted.clip if whole else predicted.windows)
    rows = []
    for k, (start, end) in enumerate(zip(truth.start_s, truth.end_s, strict=True)):
        row = Row(
            dataset=recording.dataset,
            record=recording.name,
            subject=recording.subject,
            metadata=dict(recording.metadata),
            method=method,
            start_s=float(prepared.grid_s[0] + start),
            end_s=float(prepared.grid_s[0] + end),
            hr_true_bpm=float(truth.hr_bpm[k]),
            hr_pred_bpm=guess_bpm,
        )
        if predicted is not None and rates is not None:
            bvp_true = prepared.truth.bvp if whole else prepared.truth.parts[k]
            bvp = predicted.bvp if whole else predicted.parts[k]
            row = replace(
                row,
                hr_pred_bpm=float(rates.hr_bpm[k]),
                quality=float(rates.quality[k]),
                snr_db=_snr_db(bvp, row.hr_true_bpm, protocol),
                correlation=lagged_correlation(bvp_true, bvp, fps),
                sine_correlation=sine_correlation(bvp_true, fps, row.hr_true_bpm),
                macc=(rppg_toolbox.macc if protocol.name == "toolbox" else macc)(bvp_true, bvp),
                beat_error_ms=beat_error_ms(bvp_true, bvp, fps),
            )
        rows.append(row)
    return rows
