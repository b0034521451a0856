"""The mean of a method on a dataset, over its training sets; and over all datasets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rppg.study.tables.entries import Entry, by_dataset, grouped, joined, label_of
from rppg.study.tables.scores import Scores, mean_of_finite, score
from rppg.study.tables.subject_errors import errors_of, interval_of


@dataclass(frozen=True)
class Mean:
    """The mean of a method's cells over its training sets, none of which has the tested dataset.

    Attributes:
        method, levels: as of `Cell`.
        test: the dataset; empty for the mean over all of them, each with the same weight.
        mae_bpm, low, high: the mean, and its 95 % interval over subjects and seeds.
        rmse_bpm, pearson_r, coverage: means over the training sets and seeds.
        n_windows, n_subjects: tested on, of one seed.
        n_seeds: number of seeds.
        n_training_sets: number of training sets; 0 for what isn't trained.
        seeded: whether anything about the method is random.
        seen: number of the tested recordings that are also trained on, the most of one trial.
    """

    method: str
    levels: str
    test: str
    mae_bpm: float
    low: float
    high: float
    rmse_bpm: float
    pearson_r: float
    coverage: float
    n_windows: int
    n_subjects: int
    n_seeds: int
    n_training_sets: int
    seeded: bool = False
    seen: int = 0

    @property
    def label(self) -> str:
        """The method's name in tables."""
        return label_of(self.method, self.levels)


def means_of(entries: Sequence[Entry]) -> tuple[Mean, ...]:
    """Return the mean of each method on each dataset, and over all datasets."""
    return tuple(means_by_column(counted(entries)))


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that count in means: ends of trainings, but on no own test split."""
    return [entry for entry in entries if entry.last and not entry.on_own_split]


def by_label(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of each method, with its levels in an ablation."""
    return grouped((entry.trial.label for entry in entries), entries)


def by_trial(entries: Sequence[Entry]) -> dict[tuple[str, int], list[Entry]]:
    """Return one method's entries by training set and seed, in which all folds are one row."""
    return grouped(((entry.trial.trained_on, entry.trial.seed) for entry in entries), entries)


def means_by_column(entries: Sequence[Entry]) -> Iterator[Mean]:
    """Yield the mean of each method on each dataset, and over them if there are several."""
    for own in by_label(entries).values():
        tests = by_dataset(own)
        for test, on_it in tests.items():
            yield mean_of(test, on_it)
        if len(tests) > 1:
            yield mean_of("", own)


def mean_of(test: str, entries: Sequence[Entry]) -> Mean:
    """Return the mean of one method's entries on `test`, or with "" on all that they are of."""
    rows = by_trial(entries)
    tested = grouped(((entry.part.dataset, entry.part.fold) for entry in entries), entries)
    subjects = {
        (e.part.dataset, subject)
        for e in entries
        for subject, true in zip(e.windows["subject"], e.windows["hr_true_bpm"], strict=True)
        if true is not None
    }
    mean, low, high = interval_of(
        [errors_of(row) for row in rows.values()], [training for training, _ in rows]
    )
    scores = [
        [score(joined(row)) for row in by_trial(own).values()]
        for own in by_dataset(entries).values()
    ]
    return Mean(
        method=entries[0].trial.method,
        levels=entries[0].levels,
        test=test,
        mae_bpm=mean,
        low=low,
        high=high,
        rmse_bpm=_mean_of_datasets(scores, "rmse_bpm"),
        pearson_r=_mean_of_datasets(scores, "pearson_r"),
        coverage=_mean_of_datasets(scores, "coverage"),
        n_windows=sum(_true_windows(own[0]) for own in tested.values()),
        n_subjects=len(subjects),
        n_seeds=len({seed for _, seed in rows}),
        n_training_sets=len({training for training, _ in rows if training}),
        seeded=entries[0].seeded,
        seen=sum(max(entry.seen for entry in own) for own in tested.values()),
    )


def _mean_of_datasets(scores: Sequence[Sequence[Scores]], name: str) -> float:
    """Return the mean over trials, then over datasets, each with the same weight."""
    return mean_of_finite([mean_of_finite([getattr(s, name) for s in own]) for own in scores])


def _true_windows(entry: Entry) -> int:
    return int(np.sum([true is not None for true in entry.windows["hr_true_bpm"]]))
