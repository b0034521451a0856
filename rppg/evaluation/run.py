"""Every estimator on every record, under one protocol."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.data.provenance import data_provenance
from rppg.errors import InputError
from rppg.estimators.classical import ConstantGuess, Estimator
from rppg.evaluation.journal import Journal
from rppg.evaluation.metrics import snr_db
from rppg.evaluation.results import Evaluation, Failure, Outcome, Row, Waveform
from rppg.evaluation.waveform import beat_error_ms, lagged_correlation, macc, sine_correlation
from rppg.signals import resample, resample_frames, toolbox, uniform_grid
from rppg.signals.protocol import Measured, Protocol, measure
from rppg.types import Pulse, Recording
from rppg.video.threads import one_thread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """A record on the common grid, ready for every method.

    Attributes:
        record: where it is from.
        grid_s: `(T,)` the protocol's clock, where both pictures and ground truth are.
        frames: `(T, S, S, C)` pictures on it, 0–255.
        in_view: `(T,)` whether the face is seen.
        truth: the ground truth after the protocol.
    """

    recording: Recording
    grid_s: Array
    frames: NDArray[np.float32]
    in_view: NDArray[np.bool_]
    truth: Measured


def evaluate(
    recordings: Iterable[Recording],
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol | None = None,
    progress: Callable[[Recording], None] | None = None,
    journal: Journal | None = None,
) -> Evaluation:
    """Every estimator on every record.

    A record that cannot be read, or has no ground truth, becomes a `Failure` and the rest goes on;
    so does an estimator that raises `InputError` on a record, whose windows then count as not
    covered. Pictures are read once for each record, and let go after it.

    Args:
        records: with ground truth.
        estimators: by the name in the table.
        protocol: settings; the default protocol if None.
        progress: called after each record.
        journal: where to note what came of each record; those noted in it are not done again.

    Raises:
        InputError: no estimators, or a journal of another evaluation.
    """
    protocol = protocol or Protocol()
    if not estimators:
        raise InputError("there is nothing to evaluate; give at least one method or checkpoint")
    done = {} if journal is None else journal.open()
    outcomes: list[Outcome] = []
    shown: dict[str, int] = {}
    seen: list[Recording] = []
    for recording in recordings:
        key = recording.dataset, recording.name
        outcome = done.get(key)
        if outcome is None:
            example = shown.get(recording.dataset, 0) < protocol.examples
            outcome = evaluate_recording(recording, estimators, protocol, example=example)
            if journal is not None:
                journal.add(key, outcome)
        if outcome.readable:
            shown[recording.dataset] = shown.get(recording.dataset, 0) + 1
        seen.append(recording)
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
        data=data_provenance(seen, {(f.dataset, f.record) for f in failures if f.method is None}),
    )


def evaluate_recording(
    recording: Recording,
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol,
    *,
    example: bool,
) -> Outcome:
    """Every estimator on one record; `example`: whether its waveforms are kept."""
    try:
        trial = prepare(recording, protocol)
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
                bvp = _estimate(name, estimator, trial, protocol)
            except InputError as error:
                failures.append(Failure(recording.dataset, recording.name, name, str(error)))
                bvp = np.full(len(trial.grid_s), np.nan)
            predicted = measure(bvp, protocol, valid=trial.in_view)
        guess = estimator.bpm if isinstance(estimator, ConstantGuess) else math.nan
        windows += _rows(trial, name, predicted, guess, protocol, whole=False)
        clips += _rows(trial, name, predicted, guess, protocol, whole=True)
        if predicted is not None and example:
            waveforms.append(
                Waveform(
                    recording.dataset,
                    recording.name,
                    name,
                    trial.grid_s,
                    trial.truth.bvp,
                    predicted.bvp,
                )
            )
    return Outcome(tuple(windows), tuple(clips), tuple(waveforms), tuple(failures))


def prepare(recording: Recording, protocol: Protocol) -> Trial:
    """Read a record, and bring pictures and ground truth onto one clock.

    Raises:
        InputError: it can't be read, has no ground truth, or shares too little time with it.
    """
    if recording.load_truth is None:
        raise InputError(
            f"{recording.name} has no ground truth; it can be trained on, not evaluated"
        )
    truth = _finite(recording.load_truth(), recording)
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
    return Trial(
        recording=recording,
        grid_s=grid,
        frames=resample_frames(crops.frames, crops.times_s, grid),
        in_view=in_view,
        truth=measure(label, replace(protocol, min_valid=0.9), valid=labelled),
    )


def _finite(truth: Pulse, recording: Recording) -> Pulse:
    keep = np.isfinite(truth.bvp) & np.isfinite(truth.times_s)
    latest = np.maximum.accumulate(np.where(keep, truth.times_s, -np.inf))
    keep[1:] &= truth.times_s[1:] > latest[:-1]  # a clock that stands still or runs backwards
    if np.sum(keep) < 2:
        raise InputError(
            f"{recording.name}: the ground truth has {int(np.sum(keep))} usable samples of "
            f"{len(keep)}; check its file"
        )
    return Pulse(truth.times_s[keep], truth.bvp[keep])


def _end_s(times_s: Array) -> float:
    """When the last sample's own interval ends: 400 frames at 20 fps last 20 s, not 19.95 s."""
    return float(times_s[-1] + np.median(np.diff(times_s)))


def _covered(times_s: Array, grid_s: Array, max_gap_s: float) -> NDArray[np.bool_]:
    """Which points of the grid lie outside of holes longer than `max_gap_s`."""
    after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    return np.asarray(times_s[after] - times_s[after - 1] <= max_gap_s)


def _estimate(name: str, estimator: Estimator, trial: Trial, protocol: Protocol) -> Array:
    with one_thread():  # the network on 20 s: 0.05 s, on two threads 0.06 to 0.7 s
        bvp = np.asarray(estimator(trial.frames, protocol.fps), dtype=np.float64)
    if bvp.shape != trial.grid_s.shape:
        raise ValueError(
            f"estimator {name!r} gave shape {bvp.shape} for {len(trial.grid_s)} frames; "
            f"it must give {trial.grid_s.shape}"
        )
    return bvp


def _snr_db(bvp: Array, hr_true_bpm: float, protocol: Protocol) -> float:
    if protocol.name == "toolbox":
        band = (protocol.low_hz, protocol.high_hz)
        return float(toolbox.snr_db(bvp, protocol.fps, hr_true_bpm, *band))
    return float(snr_db(bvp, protocol.fps, hr_true_bpm))


def _rows(
    trial: Trial,
    method: str,
    predicted: Measured | None,
    guess_bpm: float,
    protocol: Protocol,
    *,
    whole: bool,
) -> list[Row]:
    """One row for each window (or one for the clip); without `predicted`, the constant guess."""
    recording, fps = trial.recording, protocol.fps
    truth = trial.truth.clip if whole else trial.truth.windows
    rates = None if predicted is None else (predicted.clip if whole else predicted.windows)
    rows = []
    for k, (start, end) in enumerate(zip(truth.start_s, truth.end_s, strict=True)):
        row = Row(
            dataset=recording.dataset,
            record=recording.name,
            subject=recording.subject,
            metadata=dict(recording.metadata),
            method=method,
            start_s=float(trial.grid_s[0] + start),
            end_s=float(trial.grid_s[0] + end),
            hr_true_bpm=float(truth.hr_bpm[k]),
            hr_pred_bpm=guess_bpm,
        )
        if predicted is not None and rates is not None:
            bvp_true = trial.truth.bvp if whole else trial.truth.parts[k]
            bvp = predicted.bvp if whole else predicted.parts[k]
            row = replace(
                row,
                hr_pred_bpm=float(rates.hr_bpm[k]),
                quality=float(rates.quality[k]),
                snr_db=_snr_db(bvp, row.hr_true_bpm, protocol),
                correlation=lagged_correlation(bvp_true, bvp, fps),
                sine_correlation=sine_correlation(bvp_true, fps, row.hr_true_bpm),
                macc=(toolbox.macc if protocol.name == "toolbox" else macc)(bvp_true, bvp),
                beat_error_ms=beat_error_ms(bvp_true, bvp, fps),
            )
        rows.append(row)
    return rows
