"""The recordings that an evaluation leaves out at its end, and why.

A recording that has given no true heart rate becomes a `Failure`, so that it isn't counted among
the recordings and subjects behind the scores.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rppg.data.provenance import data_provenance
from rppg.evaluation.results import Evaluation, Failure, Row
from rppg.types import Recording


def leave_out_unmeasured(evaluation: Evaluation, recordings: Sequence[Recording]) -> Evaluation:
    """Leave out the recordings without a true heart rate in any window and in the whole.

    Args:
        evaluation: the evaluation.
        recordings: all recordings that were evaluated, those left out too.
    """
    return _leave_out(evaluation, recordings, [*evaluation.windows, *evaluation.clips])


def leave_out_without_windows(
    evaluation: Evaluation, recordings: Sequence[Recording]
) -> Evaluation:
    """Leave out the recordings that have a heart rate as a whole only: for tables of windows.

    Args:
        evaluation: the evaluation.
        recordings: all recordings that were evaluated, those left out too.
    """
    return _leave_out(evaluation, recordings, evaluation.windows)


def _leave_out(
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
        trained_on=tuple(t for t in evaluation.trained_on if (t.dataset, t.record) not in gone),
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
