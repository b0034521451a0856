"""Agreement of each method's heart rates with the true ones on each dataset: Bland and Altman."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rppg.evaluation.metrics import bland_altman
from rppg.study.tables.entries import Entry, by_dataset, joined, label_of
from rppg.study.tables.means import by_label, counted
from rppg.study.tables.scores import Array, column


@dataclass(frozen=True)
class Agreement:
    """Bias and 95 % limits of agreement of one window of a new subject.

    The differences are those of all windows of all training sets and seeds. The limits are
    corrected for there being several of each subject; see `evaluation.metrics.bland_altman`.

    Attributes:
        method, levels: as of `Cell`.
        test: the dataset; empty for all of them together.
        bias_bpm: mean of predicted minus true.
        low_bpm, high_bpm: limits of agreement; NaN for a single subject.
        n: number of differences: windows with an estimate, times trials.
        n_subjects: their people.
        n_trials: number of trials, each another training set, seed or test.
    """

    method: str
    levels: str
    test: str
    bias_bpm: float
    low_bpm: float
    high_bpm: float
    n: int
    n_subjects: int
    n_trials: int

    @property
    def label(self) -> str:
        """The method's name in tables."""
        return label_of(self.method, self.levels)


def agreement_of(entries: Sequence[Entry]) -> tuple[Agreement, ...]:
    """Return the agreement of each method on each dataset, as counted in means, and on all."""
    return tuple(
        _agreement(test, on_it)
        for own in by_label(counted(entries)).values()
        for test, on_it in _tests(own).items()
    )


def _tests(entries: list[Entry]) -> dict[str, list[Entry]]:
    tests = by_dataset(entries)
    return {**tests, "": entries} if len(tests) > 1 else tests


def differences(entries: Sequence[Entry]) -> tuple[Array, Array, list[str]]:
    """Return true and predicted heart rates in bpm, and the subjects, `(n,)`, where both are."""
    windows = joined(entries)
    true, predicted = column(windows, "hr_true_bpm"), column(windows, "hr_pred_bpm")
    both = np.isfinite(true) & np.isfinite(predicted)
    people = [
        f"{entry.part.dataset}/{subject}"
        for entry in entries
        for subject in entry.windows["subject"]
    ]
    return true[both], predicted[both], [p for p, k in zip(people, both, strict=True) if k]


def _agreement(test: str, entries: Sequence[Entry]) -> Agreement:
    true, predicted, subjects = differences(entries)
    found = bland_altman(true, predicted, subjects)
    return Agreement(
        method=entries[0].trial.method,
        levels=entries[0].levels,
        test=test,
        bias_bpm=found.bias_bpm,
        low_bpm=found.low_bpm,
        high_bpm=found.high_bpm,
        n=len(true),
        n_subjects=len(set(subjects)),
        n_trials=len({entry.trial for entry in entries}),
    )
