"""Errors over the windows of a test, as plain numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.evaluation import metrics

Array = NDArray[np.float64]
Windows = Mapping[str, Sequence[Any]]
"""Columns of windows, by name; a missing number is None. See `rppg.study.run_trial.COLUMNS`."""


@dataclass(frozen=True)
class Scores:
    """Errors over windows; NaN where undefined.

    Attributes:
        n_windows: windows with a true heart rate.
        n_subjects: their people.
        n_recordings: their recordings.
        coverage: share of the windows for which there is an estimate.
        mae_bpm, rmse_bpm, mape_percent, pearson_r: of those windows; see `evaluation.metrics`.
        snr_db: mean over the windows.
    """

    n_windows: int
    n_subjects: int
    n_recordings: int
    coverage: float
    mae_bpm: float
    rmse_bpm: float
    mape_percent: float
    pearson_r: float
    snr_db: float


def score(windows: Windows) -> Scores:
    """Return the errors over windows, without intervals."""
    true, predicted = column(windows, "hr_true_bpm"), column(windows, "hr_pred_bpm")
    known = np.isfinite(true)
    t, p = true[known], predicted[known]
    subjects = {s for s, k in zip(windows["subject"], known, strict=True) if k}
    records = {r for r, k in zip(windows["record"], known, strict=True) if k}
    snr = column(windows, "snr_db")[known]
    return Scores(
        n_windows=len(t),
        n_subjects=len(subjects),
        n_recordings=len(records),
        coverage=float(np.mean(np.isfinite(p))) if len(p) else np.nan,
        mae_bpm=metrics.mae(t, p, resamples=0).value,
        rmse_bpm=metrics.rmse(t, p, resamples=0).value,
        mape_percent=metrics.mape(t, p, resamples=0).value,
        pearson_r=metrics.pearson(t, p, resamples=0).value,
        snr_db=metrics.mean(snr, resamples=0).value,
    )


def column(windows: Windows, name: str) -> Array:
    """Return a column as numbers `(n,)`; NaN where one is missing."""
    return np.array([np.nan if v is None else v for v in windows[name]], dtype=np.float64)


def mean_of_finite(values: Sequence[float]) -> float:
    """Return the mean of the values that are defined; NaN if none is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan
