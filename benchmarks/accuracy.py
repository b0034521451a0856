"""How accurate a method is on some windows, and how far its quality index shows it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rppg.evaluation.results import Row
from rppg.signals import RELIABLE
from rppg.signals.quality import RIGHT_BPM


@dataclass(frozen=True)
class Accuracy:
    """What is printed and stored of one method's windows.

    Attributes:
        windows: with a true heart rate.
        mae_bpm: mean absolute error, the mean over subjects.
        se_bpm: its standard error over subjects.
        wrong: share of windows that are off by more than 5 bpm, or have no heart rate.
        reliable: share of windows whose quality is at least 0.5.
        wrong_if_reliable: share of these that are wrong; None without any.
    """

    windows: int
    mae_bpm: float
    se_bpm: float
    wrong: float
    reliable: float
    wrong_if_reliable: float | None


def subject_errors(rows: Iterable[Row], method: str) -> dict[str, float]:
    """Return each subject's mean absolute error in bpm, over windows with a heart rate."""
    errors: dict[str, list[float]] = {}
    for row in rows:
        if row.method == method and np.isfinite(row.error_bpm):
            errors.setdefault(row.subject, []).append(abs(row.error_bpm))
    return {subject: float(np.mean(own)) for subject, own in errors.items()}


def accuracy(rows: Iterable[Row], method: str) -> Accuracy:
    """Return a method's accuracy, rounded to three decimals."""
    own = [row for row in rows if row.method == method and np.isfinite(row.hr_true_bpm)]
    by_subject = np.array(list(subject_errors(own, method).values()))
    wrong = np.array([not abs(row.error_bpm) <= RIGHT_BPM for row in own])
    over = np.array([row.quality >= RELIABLE for row in own])
    return Accuracy(
        windows=len(own),
        mae_bpm=round(float(by_subject.mean()), 3),
        se_bpm=round(float(by_subject.std(ddof=1) / np.sqrt(len(by_subject))), 3),
        wrong=round(float(wrong.mean()), 3),
        reliable=round(float(over.mean()), 3),
        wrong_if_reliable=round(float(wrong[over].mean()), 4) if over.any() else None,
    )
