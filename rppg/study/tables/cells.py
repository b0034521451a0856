"""The cells of a study: a method, trained on one training set, on one test."""

from collections.abc import Sequence
from dataclasses import dataclass

from rppg.study.tables.entries import Entry, by_seed, grouped, joined, label_of
from rppg.study.tables.scores import mean_of_finite, score
from rppg.study.tables.subject_errors import errors_by_subject, interval_of


@dataclass(frozen=True)
class Cell:
    """A method, trained on one training set, on one test: all seeds, and all folds.

    Attributes:
        method, levels, training: see `Trial`; `levels` is empty where they are the learner's own.
        test: the dataset.
        part: `test`, `whole` or `folds`.
        epoch: after which it is tested; 0 for what isn't trained.
        clips: trained on until then.
        mae_bpm: mean absolute error over all windows of all seeds.
        low, high: its 95 % interval over subjects and seeds; NaN for one subject and one seed.
        mae_by_seed: of each seed.
        rmse_bpm, pearson_r, snr_db, coverage: means over the seeds.
        n_windows, n_subjects, n_recordings: of one seed.
        n_seeds: number of seeds.
        seen: number of the tested recordings that are also trained on.
        seeded: whether anything about the method is random.
    """

    method: str
    levels: str
    training: str
    test: str
    part: str
    epoch: int
    clips: int
    mae_bpm: float
    low: float
    high: float
    mae_by_seed: tuple[float, ...]
    rmse_bpm: float
    pearson_r: float
    snr_db: float
    coverage: float
    n_windows: int
    n_subjects: int
    n_recordings: int
    n_seeds: int
    seen: int
    seeded: bool = False

    @property
    def label(self) -> str:
        """The method's name in tables."""
        return label_of(self.method, self.levels)


def cells_of(entries: Sequence[Entry]) -> tuple[Cell, ...]:
    """Return the cells with the network that each training ends with."""
    ends = [entry for entry in entries if entry.last]
    keys = ((e.trial.label, e.trial.trained_on, e.column) for e in ends)
    return tuple(map(_cell, grouped(keys, ends).values()))


def curves_of(entries: Sequence[Entry]) -> tuple[Cell, ...]:
    """Return the cells after each tested epoch, in a study of convergence."""
    tested = [entry for entry in entries if entry.trial.each_epoch and entry.trial.learned]
    keys = ((e.trial.label, e.trial.trained_on, e.column, e.epoch) for e in tested)
    return tuple(map(_cell, grouped(keys, tested).values()))


def _cell(entries: Sequence[Entry]) -> Cell:
    first = entries[0]
    seeds = by_seed(entries)
    windows = [joined(group) for group in seeds.values()]
    scores = [score(own) for own in windows]
    rows = [{("", s): e for s, e in errors_by_subject(own).items()} for own in windows]
    mean, low, high = interval_of(rows, [""] * len(rows))
    return Cell(
        method=first.trial.method,
        levels=first.levels,
        training=first.trial.trained_on,
        test=first.part.dataset,
        part=first.column[1],
        epoch=max(entry.epoch for entry in entries),
        clips=max(entry.clips for entry in entries),
        mae_bpm=mean,
        low=low,
        high=high,
        mae_by_seed=tuple(s.mae_bpm for s in scores),
        rmse_bpm=mean_of_finite([s.rmse_bpm for s in scores]),
        pearson_r=mean_of_finite([s.pearson_r for s in scores]),
        snr_db=mean_of_finite([s.snr_db for s in scores]),
        coverage=mean_of_finite([s.coverage for s in scores]),
        n_windows=max(s.n_windows for s in scores),
        n_subjects=max(s.n_subjects for s in scores),
        n_recordings=max(s.n_recordings for s in scores),
        n_seeds=len(seeds),
        seen=sum(entry.seen for entry in next(iter(seeds.values()))),
        seeded=first.seeded,
    )
