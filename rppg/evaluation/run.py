"""Evaluation of every estimator on every recording, under one protocol.

Every recording is used, or left out with a reason. Ground truth that is no pulse is refused while
it is loaded; waves that are made up from heart rates are compared with nothing; and recordings
that have given no true heart rate are left out at the end (`rppg.evaluation.left_out`).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.data.fingerprint import TrainingData
from rppg.data.frame_clock import with_truth_clock
from rppg.data.provenance import data_provenance
from rppg.data.wave_fault import check_wave
from rppg.errors import InputError
from rppg.estimators.estimator import ConstantGuess, Estimator
from rppg.estimators.fcus import FcusEstimator, wave_and_traces
from rppg.estimators.objections import Objections, find_objections, lower_quality
from rppg.estimators.physnet import PeerEstimator
from rppg.estimators.reference_traces import ReferenceTraces
from rppg.estimators.verified_rates import verify
from rppg.evaluation.journal import Journal
from rppg.evaluation.left_out import leave_out_unmeasured
from rppg.evaluation.metrics import snr_db
from rppg.evaluation.prepared_recording import PreparedRecording, prepare
from rppg.evaluation.results import (
    Evaluation,
    Failure,
    Outcome,
    Row,
    TrainedOn,
    Waveform,
    Waves,
)
from rppg.evaluation.waveform import beat_error_ms, lagged_correlation, macc, sine_correlation
from rppg.signals import rppg_toolbox
from rppg.signals.protocol import Measured, Protocol, measure
from rppg.signals.rates import limit_by_windows
from rppg.types import Pulse, Recording
from rppg.video.threads import one_thread

Array = NDArray[np.float64]


def evaluate(
    recordings: Iterable[Recording],
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol | None = None,
    progress: Callable[[Recording], None] | None = None,
    journal: Journal | None = None,
    on_waves: Callable[[Waves], object] | None = None,
    verified: bool = True,
) -> Evaluation:
    """Evaluate every estimator on every recording.

    A recording that can't be read, has no ground truth, a ground truth that is no pulse, or one
    without a heart rate in any window and in the whole becomes a `Failure` with the reason, and the
    evaluation continues. So does an estimator that raises `InputError` on a recording; its windows
    then count as not covered. Of a recording with heart rates alone, only the metrics of the heart
    rate are defined. If a ground truth has one value per frame and another clock than the video,
    its times are used for the frames, with a warning. Each recording is read once and kept in
    memory only while it is evaluated.

    Args:
        recordings: recordings with ground truth.
        estimators: estimators by their name in the table.
        protocol: settings; the default protocol if None.
        progress: called with each recording after its evaluation.
        journal: file that keeps the outcome of each recording. Those in it are not evaluated again.
        on_waves: called with the waves of each recording that could be read, before its outcome is
            kept in the journal.
        verified: whether the quality is judged with the traces of each recording, too, which takes
            half of a classical method's time; else by the wave alone.

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
    training = {name: data for name, e in estimators.items() if (data := _training_data(e))}
    trained_on: list[TrainedOn] = []
    for recording in recordings:
        key = recording.dataset, recording.name
        outcome = known_outcomes.get(key)
        if outcome is None:
            example = examples.get(recording.dataset, 0) < protocol.examples
            outcome = evaluate_recording(
                _with_checked_truth(recording),
                estimators,
                protocol,
                example=example,
                on_waves=on_waves,
                verified=verified,
            )
            if journal is not None:
                journal.add(key, outcome)
        if outcome.readable:
            examples[recording.dataset] = examples.get(recording.dataset, 0) + 1
            trained_on += [
                TrainedOn(*key, name) for name, data in training.items() if recording in data
            ]
        evaluated.append(recording)
        outcomes.append(outcome)
        if progress is not None:
            progress(recording)
    failures = tuple(failure for outcome in outcomes for failure in outcome.failures)
    evaluation = Evaluation(
        settings=asdict(protocol),
        windows=tuple(row for outcome in outcomes for row in outcome.windows),
        clips=tuple(row for outcome in outcomes for row in outcome.clips),
        waveforms=tuple(wave for outcome in outcomes for wave in outcome.waveforms),
        failures=failures,
        data=data_provenance(
            evaluated, {(f.dataset, f.record) for f in failures if f.method is None}
        ),
        trained_on=tuple(trained_on),
    )
    return leave_out_unmeasured(evaluation, evaluated)


def _training_data(estimator: Estimator | ConstantGuess) -> TrainingData:
    """Return what an estimator's network was trained on; nothing if that isn't known."""
    if isinstance(estimator, FcusEstimator | PeerEstimator):
        return TrainingData(estimator.provenance)
    return TrainingData({})


def _with_checked_truth(recording: Recording) -> Recording:
    """Return the recording with a ground truth that raises an `InputError` if it is no pulse.

    Where its clock and the video's drift apart, the frames have its times.
    """
    load = recording.load_truth
    if load is None:
        return recording
    where = str(recording.files[-1]) if recording.files else recording.name

    def load_checked() -> Pulse:
        return check_wave(load(), where)

    return with_truth_clock(replace(recording, load_truth=load_checked))


def evaluate_recording(
    recording: Recording,
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol,
    *,
    example: bool,
    on_waves: Callable[[Waves], object] | None = None,
    verified: bool = True,
) -> Outcome:
    """Evaluate every estimator on one recording, whether its ground truth is a pulse or not.

    Args:
        recording: the recording.
        estimators: estimators by their name in the table.
        protocol: settings.
        example: whether to keep its waveforms, if the true one isn't made up from heart rates.
        on_waves: called with its waves.
        verified: see `evaluate`.
    """
    try:
        prepared = prepare(recording, protocol)
    except InputError as error:
        return Outcome(failures=(Failure(recording.dataset, recording.name, None, str(error)),))
    windows: list[Row] = []
    clips: list[Row] = []
    waveforms: list[Waveform] = []
    failures: list[Failure] = []
    waves: dict[str, Array] = {}
    for name, estimator in estimators.items():
        predicted = judged = None
        if not isinstance(estimator, ConstantGuess):
            try:
                bvp, own_traces = _estimate(name, estimator, prepared, protocol)
            except InputError as error:
                failures.append(Failure(recording.dataset, recording.name, name, str(error)))
                bvp, own_traces = np.full(len(prepared.grid_s), np.nan), None
            predicted = measure(bvp, protocol, valid=prepared.in_view)
            if verified and own_traces is None:
                predicted = verify(predicted, prepared.traces, protocol, prepared.second)
            elif verified:
                predicted = verify(predicted, own_traces, protocol)
            judged = _judge(predicted, prepared, protocol.fps)
        guess = estimator.bpm if isinstance(estimator, ConstantGuess) else math.nan
        windows += _rows(prepared, name, judged, guess, protocol, whole=False)
        clips += _rows(prepared, name, judged, guess, protocol, whole=True)
        if predicted is not None:
            waves[name] = predicted.bvp
        if predicted is not None and example and not recording.rate_only:
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
    if on_waves is not None:
        bvp_true = None if recording.rate_only else prepared.truth.bvp
        on_waves(Waves(recording.dataset, recording.name, prepared.grid_s, bvp_true, waves))
    return Outcome(tuple(windows), tuple(clips), tuple(waveforms), tuple(failures))


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


@dataclass(frozen=True)
class _Judged:
    """A prediction, and what speaks against its windows and against the whole of it."""

    measured: Measured
    windows: Objections
    clip: Objections


def _judge(measured: Measured, prepared: PreparedRecording, fps: float) -> _Judged:
    """Return a prediction with the objections and the quality that `rppg predict` would give.

    Its waves and heart rates stay: a table compares the methods on all windows.
    """
    start_s = float(prepared.grid_s[0])
    of_windows, of_clip = (
        find_objections(prepared.kinds, fps, rates, measured.bvp, start_s)
        for rates in (measured.windows, measured.clip)
    )
    windows = lower_quality(measured.windows, of_windows)
    clip = lower_quality(limit_by_windows(measured.clip, windows), of_clip)
    return _Judged(replace(measured, windows=windows, clip=clip), of_windows, of_clip)


def _snr_db(bvp: Array, hr_true_bpm: float, protocol: Protocol) -> float:
    if protocol.name == "toolbox":
        band = (protocol.low_hz, protocol.high_hz)
        return float(rppg_toolbox.snr_db(bvp, protocol.fps, hr_true_bpm, *band))
    return float(snr_db(bvp, protocol.fps, hr_true_bpm))


def _rows(
    prepared: PreparedRecording,
    method: str,
    judged: _Judged | None,
    guess_bpm: float,
    protocol: Protocol,
    *,
    whole: bool,
) -> list[Row]:
    """Return a row for each window (or one for the clip); without `judged`, of `guess_bpm`."""
    recording = prepared.recording
    truth = prepared.truth.clip if whole else prepared.truth.windows
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
        if judged is not None:
            predicted = judged.measured
            rates = predicted.clip if whole else predicted.windows
            bvp = predicted.bvp if whole else predicted.parts[k]
            row = replace(
                row,
                hr_pred_bpm=float(rates.hr_bpm[k]),
                quality=float(rates.quality[k]),
                objection=(judged.clip if whole else judged.windows)[k] or "",
                snr_db=_snr_db(bvp, row.hr_true_bpm, protocol),
            )
            if not recording.rate_only:  # else there is no true wave to compare with
                bvp_true = prepared.truth.bvp if whole else prepared.truth.parts[k]
                row = _with_wave_metrics(row, bvp_true, bvp, protocol)
        rows.append(row)
    return rows


def _with_wave_metrics(row: Row, bvp_true: Array, bvp: Array, protocol: Protocol) -> Row:
    return replace(
        row,
        correlation=lagged_correlation(bvp_true, bvp, protocol.fps),
        sine_correlation=sine_correlation(bvp_true, protocol.fps, row.hr_true_bpm),
        macc=(rppg_toolbox.macc if protocol.name == "toolbox" else macc)(bvp_true, bvp),
        beat_error_ms=beat_error_ms(bvp_true, bvp, protocol.fps),
    )
