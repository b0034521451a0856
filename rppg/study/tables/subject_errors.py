"""Errors by subject, and the interval of their mean over subjects and trials."""

from collections.abc import Sequence

import numpy as np

from rppg.study.statistics import bootstrap
from rppg.study.tables.entries import Entry, by_dataset, joined
from rppg.study.tables.scores import Array, Windows, column

RESAMPLES = 2000

Errors = dict[tuple[str, str], tuple[float, int]]
"""By dataset and subject: the mean absolute error in bpm, and the number of windows behind it."""


def errors_of(entries: Sequence[Entry]) -> Errors:
    """Return the errors of entries by dataset and subject."""
    return {
        (dataset, subject): found
        for dataset, own in by_dataset(entries).items()
        for subject, found in errors_by_subject(joined(own)).items()
    }


def errors_by_subject(windows: Windows) -> dict[str, tuple[float, int]]:
    """Return each subject's mean absolute error in bpm, NaN without any, and its windows."""
    error = np.abs(column(windows, "hr_pred_bpm") - column(windows, "hr_true_bpm"))
    subjects = np.array(windows["subject"], dtype=np.str_)
    found = {}
    for subject in dict.fromkeys(windows["subject"]):
        own = error[subjects == subject]
        own = own[np.isfinite(own)]
        found[subject] = (float(np.mean(own)) if len(own) else np.nan, len(own))
    return found


def interval_of(rows: Sequence[Errors], row_groups: Sequence[str]) -> tuple[float, float, float]:
    """Return the mean over rows and subjects, with its 95 % interval; NaN where it is undefined.

    Args:
        rows: the errors of each trial.
        row_groups: the training set of each trial.
    """
    subjects = sorted({key for row in rows for key in row})
    if not subjects:
        return np.nan, np.nan, np.nan
    values, weights = error_table(rows, subjects)
    if not np.isfinite(values).any():
        return np.nan, np.nan, np.nan
    found = bootstrap(
        values,
        [dataset for dataset, _ in subjects],
        row_groups=row_groups,
        weights=weights,
        resamples=RESAMPLES,
    )
    if values.size == 1:
        return found.mean, np.nan, np.nan
    return found.mean, found.low, found.high


def error_table(rows: Sequence[Errors], subjects: Sequence[tuple[str, str]]) -> tuple[Array, Array]:
    """Return errors and numbers of windows, `(trials, subjects)`; NaN and 0 without any."""
    nothing = (np.nan, 0)
    values = np.array([[row.get(s, nothing)[0] for s in subjects] for row in rows])
    weights = np.array([[row.get(s, nothing)[1] for s in subjects] for row in rows], np.float64)
    return values, weights
