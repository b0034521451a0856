"""SNR and error of an estimator on a domain's validation subjects."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmarks.trials.evaluation import pool_frames
from rppg.evaluation import Estimator, PreparedRecording, Protocol, measure, prepare
from rppg.evaluation.metrics import snr_db
from rppg.synthetic.cache import synthetic_recordings

SPLIT = "validation"


@dataclass(frozen=True)
class Subjects:
    """The first `count` validation subjects of a domain, prepared at a rate.

    Attributes:
        grid: side to which frames are pooled once, for networks that pool to it anyway; or None.
    """

    domain: str
    count: int
    fps: float = 30.0
    grid: int | None = None


def evaluate(estimator: Estimator, subjects: Subjects) -> dict[str, float | None]:
    """Return `snr_db` and `mae_bpm`: means over a subject's windows, then over subjects.

    A value is None if no window has it.
    """
    protocol = Protocol(fps=subjects.fps)
    snr, error = [], []
    for item in prepared(subjects):
        bvp = np.asarray(estimator(item.frames, protocol.fps), dtype=np.float64)
        measured = measure(bvp, protocol, valid=item.in_view)
        true = item.truth.windows.hr_bpm
        snr.append(mean(snr_db(measured.parts, protocol.fps, true)))
        error.append(mean(np.abs(measured.windows.hr_bpm - true)))
    values = {"snr_db": mean(np.array(snr)), "mae_bpm": mean(np.array(error))}
    return {name: round(v, 4) if np.isfinite(v) else None for name, v in values.items()}


@lru_cache(maxsize=8)
def prepared(subjects: Subjects) -> tuple[PreparedRecording, ...]:
    """Return the prepared recordings."""
    recordings = synthetic_recordings(subjects.domain, SPLIT, subjects.count)
    items = [prepare(recording, Protocol(fps=subjects.fps)) for recording in recordings]
    if subjects.grid is not None:
        items = [pool_frames(item, subjects.grid) for item in items]
    return tuple(items)


def mean(values: np.ndarray) -> float:
    """Return the mean of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
