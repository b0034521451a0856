"""Ranks of the methods on each dataset, and over all of them, and how sure they are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from rppg.evaluation.resampling import draw_counts, percentile_interval
from rppg.study.statistics import means_of_draws
from rppg.study.tables.entries import Entry, by_dataset, label_of
from rppg.study.tables.means import by_label, by_trial, counted
from rppg.study.tables.subject_errors import RESAMPLES, error_table, errors_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rank:
    """The rank of a method by its mean absolute error, and how sure it is.

    Attributes:
        method, levels: as of `Cell`.
        test: the dataset; empty for the mean of the ranks on all of them.
        rank: from 1; equal errors share the mean of their ranks. NaN for a mean of ranks if the
            method has none on some dataset.
        low, high: 95 % interval over subjects and seeds; NaN for a single subject.
        first: share of the draws of subjects and seeds in which the method is first; a first place
            that k methods share counts as 1/k for each.
        n_methods: number of methods that are ranked.
        n_datasets: number of datasets on which this one is.
        n_subjects: number of people that are drawn from.
    """

    method: str
    levels: str
    test: str
    rank: float
    low: float
    high: float
    first: float
    n_methods: int
    n_datasets: int
    n_subjects: int

    @property
    def label(self) -> str:
        """The method's name in tables."""
        return label_of(self.method, self.levels)


@dataclass(frozen=True)
class _Column:
    """The ranks on one dataset: `(methods,)` and `(methods, resamples)`."""

    labels: tuple[str, ...]
    ranks: Array
    drawn: Array
    n_subjects: int

    @property
    def sure(self) -> bool:
        """Whether there is anything to draw from."""
        return self.n_subjects > 1

    def of(self, labels: Sequence[str], values: Array) -> Array:
        """Return the values, of all methods, of some."""
        return values[[self.labels.index(label) for label in labels]]


def ranks_of(entries: Sequence[Entry]) -> tuple[Rank, ...]:
    """Return the rank of each method on each dataset, and the mean of its ranks.

    On a dataset, all methods are compared on the same draws of its subjects. A method's seeds are
    drawn independently of another's.
    """
    own = counted(entries)
    methods = {label: (group[0].trial.method, group[0].levels) for label, group in
               by_label(own).items()}  # fmt: skip
    columns = {test: found for test, group in by_dataset(own).items() if (found := _column(group))}
    return tuple(_ranks(columns, methods))


def _column(entries: Sequence[Entry]) -> _Column | None:
    rows = {label: by_trial(group) for label, group in by_label(entries).items()}
    errors = {label: [errors_of(row) for row in own.values()] for label, own in rows.items()}
    subjects = sorted({key for own in errors.values() for row in own for key in row})
    if not subjects:
        return None
    rng = np.random.default_rng(0)
    groups = [""] * len(subjects)
    columns = draw_counts(rng, groups, RESAMPLES)
    means, draws = {}, []
    for label, own in errors.items():
        values, weights = error_table(own, subjects)
        training = [name for name, _ in rows[label]]
        trials = draw_counts(rng, training, RESAMPLES)
        mean, drawn = means_of_draws(values, groups, training, trials, columns, weights=weights)
        if np.isfinite(mean):
            means[label] = mean
            draws.append(np.where(np.isfinite(drawn), drawn, np.inf))  # no estimate is last
    if not means:
        return None
    observed = np.asarray(rankdata(list(means.values())), dtype=np.float64)
    ranked = np.asarray(rankdata(np.stack(draws), axis=0), dtype=np.float64)
    return _Column(tuple(means), observed, ranked, len(subjects))


def _ranks(
    columns: Mapping[str, _Column], methods: Mapping[str, tuple[str, str]]
) -> Iterator[Rank]:
    for test, column in columns.items():
        for label, found in _ranked(column.ranks, column.drawn, column.sure, column.labels):
            yield Rank(*methods[label], test, *found, len(column.labels), 1, column.n_subjects)
    if len(columns) < 2:
        return
    on = {label: [c for c in columns.values() if label in c.labels] for label in methods}
    everywhere = [label for label in methods if len(on[label]) == len(columns)]
    means: dict[str, tuple[float, float, float, float]] = {}
    if everywhere:
        ranks = np.mean([c.of(everywhere, c.ranks) for c in columns.values()], axis=0)
        drawn = np.mean([c.of(everywhere, c.drawn) for c in columns.values()], axis=0)
        sure = all(column.sure for column in columns.values())
        means = dict(_ranked(ranks, drawn, sure, everywhere))
    for label in methods:
        if on[label]:
            people = sum(column.n_subjects for column in on[label])
            found = means.get(label, (np.nan,) * 4)
            yield Rank(*methods[label], "", *found, len(everywhere), len(on[label]), people)


def _ranked(
    ranks: Array, drawn: Array, sure: bool, labels: Sequence[str]
) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Yield each method's rank, its interval, and the share of draws in which it is first."""
    first = _share_first(drawn)
    for index, label in enumerate(labels):
        low, high = percentile_interval(drawn[index])
        found = (float(ranks[index]), low, high, float(first[index]))
        yield label, found if sure else (found[0], np.nan, np.nan, np.nan)


def _share_first(ranks: Array) -> Array:
    """Return in which share of the draws each is first: `(methods, draws)` → `(methods,)`."""
    first = ranks == np.min(ranks, axis=0)
    return np.asarray(np.mean(first / np.sum(first, axis=0), axis=1))
