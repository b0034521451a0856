"""Evaluation in which every recording is used, or left out with a reason.

`rppg.evaluation.run` computes rows for whatever it can read. Here, ground truth that is no pulse is
refused first, and a recording that has given no true heart rate becomes a `Failure`, so that it
isn't counted among the recordings and subjects behind the scores.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rppg.data.frame_clock import with_truth_clock
from rppg.data.provenance import data_provenance
from rppg.data.wave_fault import check_wave
from rppg.estimators.estimator import ConstantGuess, Estimator
from rppg.evaluation import run
from rppg.evaluation.journal import Journal
from rppg.evaluation.results import Evaluation, Failure, Row
from rppg.signals.protocol import Protocol
from rppg.types import Pulse, Recording


def evaluate(
    recordings: Iterable[Recording],
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol | None = None,
    progress: Callable[[Recording], None] | None = None,
    journal: Journal | None = None,
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

    Raises:
        InputError: no estimators, or a journal of another evaluation.
    """
    seen: list[Recording] = []

    def checked() -> Iterator[Recording]:
        for recording in recordings:
            seen.append(recording)
            yield _with_checked_truth(recording)

    result = run.evaluate(checked(), estimators, protocol, progress, journal)
    result = _without_made_up_waves(result, seen)
    return _leave_out_unmeasured(result, seen, [*result.windows, *result.clips])


def leave_out_without_windows(
    evaluation: Evaluation, recordings: Sequence[Recording]
) -> Evaluation:
    """Leave out the recordings that have a heart rate as a whole only: for tables of windows.

    Args:
        evaluation: the evaluation.
        recordings: all recordings that were evaluated, those left out too.
    """
    return _leave_out_unmeasured(evaluation, recordings, evaluation.windows)


def _with_checked_truth(recording: Recording) -> Recording:
    load = recording.load_truth
    if load is None:
        return recording
    where = str(recording.files[-1]) if recording.files else recording.name

    def load_checked() -> Pulse:
        return check_wave(load(), where)

    return with_truth_clock(replace(recording, load_truth=load_checked))


def _without_made_up_waves(evaluation: Evaluation, recordings: Sequence[Recording]) -> Evaluation:
    """Remove what compares waves, where the true one is made up from heart rates."""
    made_up = {(r.dataset, r.name) for r in recordings if r.rate_only}

    def without_metrics(row: Row) -> Row:
        if (row.dataset, row.record) not in made_up:
            return row
        none = math.nan
        return replace(row, correlation=none, sine_correlation=none, macc=none, beat_error_ms=none)

    if not made_up:
        return evaluation
    return replace(
        evaluation,
        windows=tuple(map(without_metrics, evaluation.windows)),
        clips=tuple(map(without_metrics, evaluation.clips)),
        waveforms=tuple(w for w in evaluation.waveforms if (w.dataset, w.record) not in made_up),
    )


def _leave_out_unmeasured(
    evaluation: Evaluation, recordings: Sequence[Recording], rows: Sequence[Row]
) -> Evaluation:
    """Leave out the recordings without a true heart rate in `rows`."""
    measured = {(row.dataset, row.record) for row in rows if np.isfinite(row.hr_true_bpm)}
    failed = {(f.dataset, f.record) for f in evaluation.failures if f.method is None}
    unmeasured = [
        recording
        for recording in recordings
        if (recording.dataset, recording.name) not in measured | failed
    ]
    if not unmeasured:
        return evaluation
    reasons = [
        Failure(recording.dataset, recording.name, None, _reason(recording, evaluation))
        for recording in unmeasured
    ]
    gone = {(recording.dataset, recording.name) for recording in unmeasured}
    kept = [f for f in evaluation.failures if (f.dataset, f.record) not in gone]
    order = {(r.dataset, r.name): index for index, r in enumerate(recordings)}
    failures = sorted([*kept, *reasons], key=lambda f: order[f.dataset, f.record])

    def without(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(row for row in rows if (row.dataset, row.record) not in gone)

    return replace(
        evaluation,
        windows=without(evaluation.windows),
        clips=without(evaluation.clips),
        waveforms=tuple(w for w in evaluation.waveforms if (w.dataset, w.record) not in gone),
        failures=tuple(failures),
        data=data_provenance(recordings, gone | failed),
    )


def _reason(recording: Recording, evaluation: Evaluation) -> str:
    key = (recording.dataset, recording.name)
    length_s = float(evaluation.settings["window_s"])
    spans = {(w.start_s, w.end_s) for w in evaluation.windows if (w.dataset, w.record) == key}
    if spans:
        return (
            f"the ground truth has no heart rate in any of {len(spans)} windows "
            f"of {length_s:g} s; look at its values, and for holes in its times"
        )
    shared_s = max(
        (c.end_s - c.start_s for c in evaluation.clips if (c.dataset, c.record) == key),
        default=0.0,
    )
    return (
        f"video and ground truth share {shared_s:.1f} s, less than a window of "
        f"{length_s:g} s; give longer recordings"
    )
