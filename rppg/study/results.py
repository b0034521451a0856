"""From stored trials to tables: cells, means by column, curves, and what was left out and why.

All of it is plain data, from which documents are written: `documents.py` has JSON and CSV. A report
or LaTeX is another function of `Tables`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.study.config import LEARNERS, UNTRAINED
from rppg.study.parts import Part
from rppg.study.plan import Trial, plan_trials
from rppg.study.run import Prepared
from rppg.study.statistics import bootstrap
from rppg.study.store import Result, Store

Array = NDArray[np.float64]
Windows = Mapping[str, Sequence[Any]]

RESAMPLES = 2000
LEAST_WINDOWS = 3
"""Windows below which a correlation is undefined."""


@dataclass(frozen=True)
class Scores:
    """Errors over the windows of one entry; NaN where undefined.

    Attributes:
        n_windows: windows with a true heart rate.
        n_subjects: their people.
        n_recordings: their recordings.
        coverage: share of the windows for which there is an estimate.
        mae_bpm, rmse_bpm, mape_percent, pearson_r: of those windows.
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


@dataclass(frozen=True)
class Entry:
    """One trial on one test part, after one epoch.

    Attributes:
        trial: the trial, as planned.
        part: what it is tested on.
        epoch: after which it is tested; 0 for what isn't trained.
        last: whether it is the network that the training ends with.
        windows: columns of the windows; empty without a result.
        seen: number of the tested recordings that are also trained on.
        clips: trained on until then.
    """

    trial: Trial
    part: Part
    epoch: int
    last: bool
    windows: Windows
    seen: int = 0
    clips: int = 0

    @property
    def scores(self) -> Scores:
        """The errors over all of its windows."""
        return score(self.windows)

    @property
    def column(self) -> tuple[str, str]:
        """The dataset, and `test` (the training dataset's own test split), `whole` or `folds`."""
        return self.part.dataset, "folds" if self.part.kind == "fold" else self.part.kind


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

    @property
    def seeded(self) -> bool:
        """Whether anything about the method is random."""
        return self.method in (*LEARNERS, UNTRAINED)


@dataclass(frozen=True)
class LeftOut:
    """Something that isn't in the tables, and why.

    Attributes:
        kind: `part` of a dataset, `trial`, `test`, `recording` of a test, `estimate` of one, or
            `training recording`.
        what: its name.
        reason: why.
        trials: number of trials concerned.
    """

    kind: str
    what: str
    reason: str
    trials: int


@dataclass(frozen=True)
class Tables:
    """All tables of a study.

    Attributes:
        entries: the long table.
        cells: with the network that each training ends with.
        curves: after each tested epoch, in a study of convergence.
        means: by column, and over all columns.
        left_out: what isn't in the tables.
        missing: titles of the trials that haven't been run yet.
        trials: number of trials planned.
    """

    entries: tuple[Entry, ...]
    cells: tuple[Cell, ...]
    curves: tuple[Cell, ...]
    means: tuple[Mean, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]
    trials: int
    timing: Mapping[str, Any] = field(default_factory=dict)


def tables(prepared: Prepared, store: Store) -> Tables:
    """Return the tables of what is stored of a study."""
    results: dict[Trial, Result] = {}
    missing: list[str] = []
    for trial, job in prepared.jobs.items():
        result = store.load(job)
        if result is None or not store.complete(job):
            missing.append(trial.title)
        if result is not None:
            results[trial] = result
    entries = [e for trial, result in results.items() for e in _entries(prepared, trial, result)]
    ends = [entry for entry in entries if entry.last]
    by_epoch = [entry for entry in entries if entry.trial.each_epoch and entry.trial.learned]
    return Tables(
        entries=tuple(entries),
        cells=tuple(map(_cell, _grouped(ends, epochs=False).values())),
        curves=tuple(map(_cell, _grouped(by_epoch, epochs=True).values())),
        means=tuple(_means(ends)),
        left_out=tuple(_left_out(prepared, results)),
        missing=tuple(missing),
        trials=len(prepared.jobs) + len(prepared.skipped),
        timing={trial.title: result["timing"] for trial, result in results.items()},
    )


def score(windows: Windows) -> Scores:
    """Return the errors over windows."""
    true, predicted = _array(windows, "hr_true_bpm"), _array(windows, "hr_pred_bpm")
    known = np.isfinite(true)
    error = (predicted - true)[known]
    both = np.isfinite(error)
    e, t, p = error[both], true[known][both], predicted[known][both]
    snr = _array(windows, "snr_db")[known]
    snr = snr[np.isfinite(snr)]
    subjects = [s for s, k in zip(windows["subject"], known, strict=True) if k]
    records = [r for r, k in zip(windows["record"], known, strict=True) if k]
    varies = len(e) >= LEAST_WINDOWS and np.std(t) > 0 and np.std(p) > 0
    return Scores(
        n_windows=len(error),
        n_subjects=len(set(subjects)),
        n_recordings=len(set(records)),
        coverage=float(np.mean(both)) if len(error) else np.nan,
        mae_bpm=float(np.mean(np.abs(e))) if len(e) else np.nan,
        rmse_bpm=float(np.sqrt(np.mean(e**2))) if len(e) else np.nan,
        mape_percent=float(100 * np.mean(np.abs(e) / t)) if len(e) else np.nan,
        pearson_r=float(np.corrcoef(t, p)[0, 1]) if varies else np.nan,
        snr_db=float(np.mean(snr)) if len(snr) else np.nan,
    )


def _entries(prepared: Prepared, trial: Trial, result: Result) -> Iterator[Entry]:
    job = prepared.jobs[trial]
    trained = {d for part in trial.training for d in prepared.parts[part].digests}
    clips = result["training"].get("clips_per_epoch", 0)
    for part, key in zip(job.trial.tests, job.tests, strict=True):
        test = result["tests"].get(key, {})
        windows = test.get("windows", {})
        seen = sum(digest in trained for digest in prepared.parts[part].digests)
        if trial.checkpoint is not None:  # trained elsewhere: by the fingerprints in it
            seen = len(test.get("seen", ()))
        last = max(map(int, windows), default=0)
        for epoch, columns in windows.items():
            number = int(epoch)
            yield Entry(trial, part, number, number == last, columns, seen, clips * number)


def _grouped(entries: Iterable[Entry], *, epochs: bool) -> dict[tuple[Any, ...], list[Entry]]:
    """Group the entries of one cell."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        key = (entry.trial.label, entry.trial.trained_on, entry.column)
        groups.setdefault((*key, entry.epoch if epochs else 0), []).append(entry)
    return groups


def _cell(entries: Sequence[Entry]) -> Cell:
    first = entries[0]
    by_seed = [_joined(group) for group in _by_seed(entries).values()]
    scores = [score(windows) for windows in by_seed]
    mean, low, high = _interval(by_seed)
    return Cell(
        method=first.trial.method,
        levels=_levels(first.trial),
        training=first.trial.trained_on,
        test=first.part.dataset,
        part=first.column[1],
        epoch=max(entry.epoch for entry in entries),
        clips=max(entry.clips for entry in entries),
        mae_bpm=mean,
        low=low,
        high=high,
        mae_by_seed=tuple(s.mae_bpm for s in scores),
        rmse_bpm=_nanmean([s.rmse_bpm for s in scores]),
        pearson_r=_nanmean([s.pearson_r for s in scores]),
        snr_db=_nanmean([s.snr_db for s in scores]),
        coverage=_nanmean([s.coverage for s in scores]),
        n_windows=max(s.n_windows for s in scores),
        n_subjects=max(s.n_subjects for s in scores),
        n_recordings=max(s.n_recordings for s in scores),
        n_seeds=len(by_seed),
        seen=sum(entry.seen for entry in next(iter(_by_seed(entries).values()))),
    )


def _means(entries: Sequence[Entry]) -> Iterator[Mean]:
    """Yield the mean of each method on each dataset, and over all datasets."""
    counted = [entry for entry in entries if entry.column[1] != "test"]
    by_method: dict[str, list[Entry]] = {}
    for entry in counted:
        by_method.setdefault(entry.trial.label, []).append(entry)
    for own in by_method.values():
        tests = list(dict.fromkeys(entry.part.dataset for entry in own))
        for test in tests:
            yield _mean(test, [entry for entry in own if entry.part.dataset == test])
        if len(tests) > 1:
            yield _mean("", own)


def _mean(test: str, entries: Sequence[Entry]) -> Mean:
    rows: dict[tuple[str, int], list[Entry]] = {}
    for entry in entries:
        rows.setdefault((entry.trial.trained_on, entry.trial.seed), []).append(entry)
    tested: dict[tuple[str, ...], Scores] = {}
    for entry in entries:
        tested.setdefault((entry.part.dataset, str(entry.part.fold)), entry.scores)
    subjects = {
        (e.part.dataset, subject)
        for e in entries
        for subject, true in zip(e.windows["subject"], e.windows["hr_true_bpm"], strict=True)
        if true is not None
    }
    mean, low, high = _interval_of_rows(
        [_errors(row) for row in rows.values()], [training for training, _ in rows]
    )
    trained = {training for training, _ in rows if training}
    return Mean(
        method=entries[0].trial.method,
        levels=_levels(entries[0].trial),
        test=test,
        mae_bpm=mean,
        low=low,
        high=high,
        n_windows=sum(s.n_windows for s in tested.values()),
        n_subjects=len(subjects),
        n_seeds=len({seed for _, seed in rows}),
        n_training_sets=len(trained),
    )


Errors = dict[tuple[str, str], tuple[float, int]]
"""By dataset and subject: the mean absolute error, and the number of windows behind it."""


def _errors(entries: Iterable[Entry]) -> Errors:
    return {
        (dataset, subject): found
        for dataset, windows in _by_dataset(entries).items()
        for subject, found in _by_subject(windows).items()
    }


def _by_dataset(entries: Iterable[Entry]) -> dict[str, Windows]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.part.dataset, []).append(entry)
    return {dataset: _joined(group) for dataset, group in groups.items()}


def _by_subject(windows: Windows) -> dict[str, tuple[float, int]]:
    error = np.abs(_array(windows, "hr_pred_bpm") - _array(windows, "hr_true_bpm"))
    subjects = np.array(windows["subject"], dtype=np.str_)
    found = {}
    for subject in dict.fromkeys(windows["subject"]):
        own = error[subjects == subject]
        own = own[np.isfinite(own)]
        found[subject] = (float(np.mean(own)) if len(own) else np.nan, len(own))
    return found


def _interval(by_seed: Sequence[Windows]) -> tuple[float, float, float]:
    rows = [{("", s): e for s, e in _by_subject(windows).items()} for windows in by_seed]
    return _interval_of_rows(rows, [""] * len(rows))


def _interval_of_rows(
    rows: Sequence[Errors], row_groups: Sequence[str]
) -> tuple[float, float, float]:
    """Return the mean over rows and subjects, with its interval; NaN where it is undefined."""
    subjects = sorted({key for row in rows for key in row})
    if not subjects:
        return np.nan, np.nan, np.nan
    nothing = (np.nan, 0)
    values = np.array([[row.get(s, nothing)[0] for s in subjects] for row in rows])
    weights = np.array([[row.get(s, nothing)[1] for s in subjects] for row in rows], np.float64)
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


def _by_seed(entries: Iterable[Entry]) -> dict[int, list[Entry]]:
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.trial.seed, []).append(entry)
    return groups


def _joined(entries: Sequence[Entry]) -> Windows:
    """Join the windows of folds."""
    names = entries[0].windows
    return {name: [v for entry in entries for v in entry.windows[name]] for name in names}


def _left_out(prepared: Prepared, results: Mapping[Trial, Result]) -> list[LeftOut]:
    concerned: dict[tuple[str, str, str], set[Trial]] = {}

    def add(kind: str, what: str, reason: str, trial: Trial) -> None:
        concerned.setdefault((kind, what, reason), set()).add(trial)

    for trial in plan_trials(prepared.study):
        for part in (*trial.training, *trial.tests):
            if prepared.parts[part].reason:
                add("part", part.title, prepared.parts[part].reason, trial)
    for trial, reason in prepared.skipped.items():
        add("trial", trial.title, reason, trial)
    for trial, result in results.items():
        if "failed" in result:
            add("trial", trial.title, result["failed"]["reason"], trial)
        for name, reason in result["training"].get("skipped", {}).items():
            add("training recording", name, reason, trial)
        job = prepared.jobs[trial]
        for part, key in zip(job.trial.tests, job.tests, strict=True):
            test = result["tests"].get(key, {})
            if "failed" in test:
                what = f"{trial.title}: {part.title}"
                add("test", what, test["failed"]["reason"], trial)
            for out in test.get("left_out", ()):
                kind = "estimate" if out["method"] else "recording"
                add(kind, f"{part.dataset}: {out['recording']}", out["reason"], trial)
    return [LeftOut(*what, len(trials)) for what, trials in concerned.items()]


def _levels(trial: Trial) -> str:
    return "" if trial.levels is None else "+".join(trial.levels) or "none"


def _array(windows: Windows, name: str) -> Array:
    return np.array([np.nan if v is None else v for v in windows[name]], dtype=np.float64)


def _nanmean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan
