"""How good an estimator is on the domains: errors of all windows, under the default protocol."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.claims.runs import Run
from rppg.evaluation import (
    Estimator,
    PreparedRecording,
    Protocol,
    classical,
    measure,
    prepare,
)
from rppg.models.patches import pool_patches
from rppg.synthetic.cache import synthetic_recordings

Windows = dict[str, list[Any]]
"""Of each window of one domain: `subject`, `true_bpm`, `pred_bpm` (None where there is none)."""


@dataclass(frozen=True)
class People:
    """Whom to evaluate on: the first `count` subjects of a domain's split."""

    domain: str
    split: str
    count: int


def errors_on(
    run: Run, estimator: Estimator, *, count: int, grid: int | None
) -> dict[str, Windows]:
    """Every window of every target, by the target's name.

    Args:
        run: names the targets and the split.
        estimator: to be evaluated.
        count: subjects of each target.
        grid: side to which pictures are pooled, once for all; None gives them as they are.
    """
    return {name: _windows(People(name, run.split, count), estimator, grid) for name in run.targets}


def run_classical(run: Run) -> dict[str, Any]:
    """A method that nobody trains, as a run with a single point."""
    found = errors_on(run, classical(run.learner), count=run.test_subjects, grid=None)
    return {"points": [{"epoch": 0, "clips": 0, "train_s": 0.0, "targets": found}]}


def _windows(people: People, estimator: Estimator, grid: int | None) -> Windows:
    protocol = Protocol()
    subjects: list[str] = []
    true: list[NDArray[np.float64]] = []
    predicted: list[NDArray[np.float64]] = []
    for trial in _fresh(people) if grid is None else _pooled(people, grid):
        bvp = np.asarray(estimator(trial.frames, protocol.fps), dtype=np.float64)
        rates = measure(bvp, protocol, valid=trial.in_view).windows.hr_bpm
        true.append(trial.truth.windows.hr_bpm)
        predicted.append(rates)
        subjects += [trial.recording.subject] * len(rates)
    return {
        "subject": subjects,
        "true_bpm": _numbers(np.concatenate(true)),
        "pred_bpm": _numbers(np.concatenate(predicted)),
    }


def _fresh(people: People) -> Iterator[PreparedRecording]:
    protocol = Protocol()
    for recording in synthetic_recordings(people.domain, people.split, people.count):
        yield prepare(recording, protocol)


@lru_cache(maxsize=8)
def _pooled(people: People, grid: int) -> tuple[PreparedRecording, ...]:
    """Kept for the process's life: pooling is the same for every network of one grid."""
    found = []
    for trial in _fresh(people):
        frames = torch.from_numpy(trial.frames).permute(0, 3, 1, 2)[None]
        pooled = pool_patches(frames, grid)[0].permute(0, 2, 3, 1).contiguous().numpy()
        found.append(replace(trial, frames=pooled))
    return tuple(found)


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(v), 3) if np.isfinite(v) else None for v in values]
