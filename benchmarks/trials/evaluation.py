"""Predictions of an estimator in all windows of the domains, under the default protocol."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.trials.trial_settings import Trial
from rppg.evaluation import (
    Estimator,
    PreparedRecording,
    Protocol,
    measure,
    prepare,
)
from rppg.evaluation.metrics import snr_db
from rppg.models.patches import pool_patches
from rppg.synthetic.cache import synthetic_recordings

Windows = dict[str, list[Any]]
"""For each window of a domain: `subject`, `true_bpm`, `pred_bpm` (None: no estimate), and columns
that trials of older code lack: `pred_continuous_bpm`, the estimate with continuity, and `snr_db`,
the signal-to-noise ratio at the true heart rate."""


CONTINUOUS = "pred_continuous_bpm"
SNR = "snr_db"


@dataclass(frozen=True)
class Subjects:
    """The first `count` subjects of a domain's split."""

    domain: str
    split: str
    count: int


def predict_windows(
    trial: Trial, estimator: Estimator, *, count: int, grid: int | None
) -> dict[str, Windows]:
    """Return every window of the trial's target domains, by the domain's name.

    Args:
        trial: for its targets and its split.
        count: number of subjects in each domain.
        grid: side to which crops are pooled once, for networks that pool to it anyway; None leaves
            them as they are.
    """
    return {
        name: _windows(Subjects(name, trial.split, count), estimator, grid)
        for name in trial.targets
    }


def _windows(subjects: Subjects, estimator: Estimator, grid: int | None) -> Windows:
    protocol = Protocol()
    names: list[str] = []
    true: list[NDArray[np.float64]] = []
    predicted: list[NDArray[np.float64]] = []
    continuous: list[NDArray[np.float64]] = []
    snr: list[NDArray[np.float64]] = []
    for item in _prepared(subjects) if grid is None else _pooled(subjects, grid):
        bvp = np.asarray(estimator(item.frames, protocol.fps), dtype=np.float64)
        measured = measure(bvp, protocol, valid=item.in_view)
        rates = measured.windows.hr_bpm
        snr.append(snr_db(measured.parts, protocol.fps, item.truth.windows.hr_bpm))
        true.append(item.truth.windows.hr_bpm)
        predicted.append(rates)
        path = measure(bvp, replace(protocol, continuity=True), valid=item.in_view).windows
        continuous.append(path.hr_bpm)
        names += [item.recording.subject] * len(rates)
    return {
        "subject": names,
        "true_bpm": _numbers(np.concatenate(true)),
        "pred_bpm": _numbers(np.concatenate(predicted)),
        CONTINUOUS: _numbers(np.concatenate(continuous)),
        SNR: _numbers(np.concatenate(snr)),
    }


def _prepared(subjects: Subjects) -> Iterator[PreparedRecording]:
    protocol = Protocol()
    for recording in synthetic_recordings(subjects.domain, subjects.split, subjects.count):
        yield prepare(recording, protocol)


@lru_cache(maxsize=8)
def _pooled(subjects: Subjects, grid: int) -> tuple[PreparedRecording, ...]:
    """Return prepared recordings with pooled frames, computed once for all networks of a grid."""
    return tuple(pool_frames(item, grid) for item in _prepared(subjects))


def pool_frames(item: PreparedRecording, grid: int) -> PreparedRecording:
    """Return a prepared recording with its frames pooled to `grid` × `grid` patches."""
    frames = torch.from_numpy(item.frames).permute(0, 3, 1, 2)[None]
    pooled = pool_patches(frames, grid)[0].permute(0, 2, 3, 1).contiguous().numpy()
    return replace(item, frames=pooled)


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(v), 3) if np.isfinite(v) else None for v in values]
