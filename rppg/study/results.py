"""From stored trials to tables: cells, means by column, curves, and what was left out and why.

All of it is plain data, from which `rppg.study.documents` writes files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rppg.study.plan import Trial
from rppg.study.run import Prepared
from rppg.study.store import Result, Store
from rppg.study.tables.agreement import Agreement, agreement_of
from rppg.study.tables.breakdown import Group, breakdown_of
from rppg.study.tables.cells import Cell, cells_of, curves_of
from rppg.study.tables.curves import CurvePoint, curve_points_of
from rppg.study.tables.entries import Entry, entries_of
from rppg.study.tables.left_out import LeftOut, left_out_of
from rppg.study.tables.means import Mean, means_of
from rppg.study.tables.ranks import Rank, ranks_of
from rppg.study.tables.scores import Scores, Windows, score

__all__ = [
    "Agreement",
    "Cell",
    "CurvePoint",
    "Entry",
    "Group",
    "LeftOut",
    "Mean",
    "Rank",
    "Scores",
    "Tables",
    "Windows",
    "score",
    "tables",
]


@dataclass(frozen=True)
class Tables:
    """All tables of a study.

    Attributes:
        entries: the long table.
        cells: with the network that each training ends with.
        curves: after each tested epoch, in a study of convergence.
        means: by column, and over all columns.
        ranks: of the methods, on each dataset and over all.
        agreement: Bland and Altman's, of each method on each dataset.
        breakdown: means by what is known of the recordings.
        curve_points: means after each tested epoch, in a study of convergence.
        left_out: what isn't in the tables.
        missing: titles of the trials that haven't been run yet.
        trials: number of trials planned.
        timing: durations and dates of each trial, by its title.
    """

    entries: tuple[Entry, ...]
    cells: tuple[Cell, ...]
    curves: tuple[Cell, ...]
    means: tuple[Mean, ...]
    ranks: tuple[Rank, ...]
    agreement: tuple[Agreement, ...]
    breakdown: tuple[Group, ...]
    curve_points: tuple[CurvePoint, ...]
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
    entries = [e for trial, result in results.items() for e in entries_of(prepared, trial, result)]
    return Tables(
        entries=tuple(entries),
        cells=cells_of(entries),
        curves=curves_of(entries),
        means=means_of(entries),
        ranks=ranks_of(entries),
        agreement=agreement_of(entries),
        breakdown=breakdown_of(entries),
        curve_points=curve_points_of(entries),
        left_out=left_out_of(prepared, results),
        missing=tuple(missing),
        trials=len(prepared.jobs) + len(prepared.skipped),
        timing={trial.title: result["timing"] for trial, result in results.items()},
    )
