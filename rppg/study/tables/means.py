"""The mean of a method on a dataset, over its training sets; and over all datasets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rppg.study.tables.entries import Entry, by_dataset, grouped
from rppg.study.tables.scores import Scores
from rppg.study.tables.subject_errors import errors_of, interval_of


@dataclass(frozen=True)
class Mean:
    """The mean of a method's cells over its training sets, none of which has the tested dataset.

    Attributes:
        method, levels: as of `Cell`.
        test: the dataset; empty for the mean over all of them, each with the same weight.
        mae_bpm, low, high: the mean, and its 95 % interval over subjects and seeds.
        n_windows, n_subjects: tested on, of one seed.
        n_seeds: number of seeds.
        n_training_sets: number of training sets; 0 for what isn't trained.
        seeded: whether anything about the method is random.
    """

    method: str
    levels: str
    test: str
    mae_bpm: float
    low: float
    high: float
    n_windows: int
    n_subjects: int
    n_seeds: int
    n_training_sets: int
    seeded: bool = False


def means_of(entries: Sequence[Entry]) -> tuple[Mean, ...]:
    """Return the mean of each method on each dataset, and over all datasets."""
    return tuple(_means(counted(entries)))


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that count in means: ends of trainings, but on no own test split."""
    return [entry for entry in entries if entry.last and entry.column[1] != "test"]


def _means(entries: Sequence[Entry]) -> Iterator[Mean]:
    for own in grouped((entry.trial.label for entry in entries), entries).values():
        tests = by_dataset(own)
        for test, on_it in tests.items():
            yield _mean(test, on_it)
        if len(tests) > 1:
            yield _mean("", own)


def _mean(test: str, entries: Sequence[Entry]) -> Mean:
    rows = grouped(((entry.trial.trained_on, entry.trial.seed) for entry in entries), entries)
    tested: dict[tuple[str, int], Scores] = {}
    for entry in entries:
        tested.setdefault((entry.part.dataset, entry.part.fold), entry.scores)
    subjects = {
        (e.part.dataset, subject)
        for e in entries
        for subject, true in zip(e.windows["subject"], e.windows["hr_true_bpm"], strict=True)
        if true is not None
    }
    mean, low, high = interval_of(
        [errors_of(row) for row in rows.values()], [training for training, _ in rows]
    )
    return Mean(
        method=entries[0].trial.method,
        levels=entries[0].levels,
        test=test,
        mae_bpm=mean,
        low=low,
        high=high,
        n_windows=sum(s.n_windows for s in tested.values()),
        n_subjects=len(subjects),
        n_seeds=len({seed for _, seed in rows}),
        n_training_sets=len({training for training, _ in rows if training}),
        seeded=entries[0].seeded,
    )
