"""Errors by training and test domain: the table of the study `cross_domain`."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.study.from_study import StudyOptions, by_source, joined
from benchmarks.study.output import spread
from benchmarks.study.statistics import (
    Interval,
    Point,
    bootstrap,
    by_subject,
    coverage,
    mae,
    pearson,
    stack,
)
from benchmarks.trials.evaluation import CONTINUOUS
from benchmarks.trials.store import Result
from benchmarks.trials.trial_settings import FILTERED, method_label
from rppg.study.config import CONSTANT, UNTRAINED
from rppg.study.plan import Trial
from rppg.synthetic.domains import DOMAINS

TARGETS = tuple(DOMAINS)

WITH_CONTINUITY = ("chrom+skin", "pos+skin", *FILTERED, "untrained", "fcus")
"""Methods that have a further row, with continuity between their windows."""

Columns = dict[str, dict[str, float]]
"""A value for each row of the table and each target."""


class TransferTable:
    """All results, by method, training domain (source) and test domain (target).

    Args:
        sources: domains trained on.
        constant: guesses of the mean heart rate, by source.
        fcus: one result per seed, by source.
        untrained: one result per seed.
        classical: by method.
        peers: one result per seed, by peer and source.
        targets: domains tested on.
    """

    def __init__(
        self,
        sources: Sequence[str],
        constant: dict[str, Result],
        fcus: dict[str, list[Result]],
        untrained: list[Result],
        classical: dict[str, Result],
        peers: dict[str, dict[str, list[Result]]],
        targets: Sequence[str] = TARGETS,
    ) -> None:
        self.sources, self.constant, self.targets = sources, constant, targets
        self.fcus, self.untrained, self.classical, self.peers = fcus, untrained, classical, peers

    def points(self, method: str, source: str) -> list[Point]:
        """Return one point per seed: the network that the training ended with."""
        results = self.fcus[source] if method == "fcus" else self.peers[method][source]
        return [point for result in results for point in result["points"]]

    def cell(self, method: str, source: str, target: str) -> list[float]:
        """Return the MAE of each seed."""
        return [mae(point, target) for point in self.points(method, source)]

    def foreign(self, target: str) -> list[str]:
        """Return the sources other than the target."""
        return [source for source in self.sources if source != target]

    def matrix(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Return the MAE of each seed, by method, source and target."""
        return {
            method: {s: {t: self.cell(method, s, t) for t in self.targets} for s in self.sources}
            for method in ("fcus", *self.peers)
        }

    def matrix_rows(self) -> list[list[str]]:
        """Return FCUS's matrix as rows of text."""
        return [[s, *(spread(self.cell("fcus", s, t)) for t in self.targets)] for s in self.sources]

    def columns(self) -> Columns:
        """Return each method's error on each target; trained methods from foreign sources."""
        guesses = {source: result["points"][0] for source, result in self.constant.items()}
        columns: Columns = {
            "constant guess": {
                t: fmean(mae(guesses[s], t) for s in self.foreign(t)) for t in self.targets
            }
        }
        for method in self.classical:
            columns[method_label(method)] = {t: self._column(method, t) for t in self.targets}
        for method in (*self.peers, "untrained", "fcus"):
            columns[method] = {t: self._column(method, t) for t in self.targets}
        return columns

    def continuity(self) -> Columns:
        """Return `columns` of the methods with continuity, if all of their trials have it."""
        columns: Columns = {}
        for method in WITH_CONTINUITY:
            if method not in ("fcus", "untrained", *self.classical):
                continue
            if method == "fcus":
                points = [point for s in self.sources for point in self.points(method, s)]
            else:
                results = self.untrained if method == "untrained" else [self.classical[method]]
                points = [result["points"][0] for result in results]
            if all(CONTINUOUS in windows for p in points for windows in p["targets"].values()):
                name = method_label(method) if method in self.classical else method
                name = "FCUS" if method == "fcus" else name
                row = {t: self._column(method, t, CONTINUOUS) for t in self.targets}
                columns[f"{name}, continuity"] = row
        return columns

    def _column(self, method: str, target: str, estimates: str = "pred_bpm") -> float:
        if method in self.classical:
            return mae(self.classical[method]["points"][0], target, estimates=estimates)
        if method == "untrained":
            points = [result["points"][0] for result in self.untrained]
            return median(mae(point, target, estimates=estimates) for point in points)
        return fmean(
            median(mae(p, target, estimates=estimates) for p in self.points(method, s))
            for s in self.foreign(target)
        )

    def correlations(self) -> dict[str, list[float]]:
        """Return FCUS's Pearson r on each target, for every foreign source and seed."""
        return {
            t: [pearson(p, t) for s in self.foreign(t) for p in self.points("fcus", s)]
            for t in self.targets
        }

    def coverages(self) -> dict[str, float]:
        """Return the lowest share of windows with an estimate over all cells, by method."""
        lowest = {
            method: min(
                coverage(p, t)
                for s in self.sources
                for p in self.points(method, s)
                for t in self.targets
            )
            for method in ("fcus", *self.peers)
        }
        for method, result in self.classical.items():
            lowest[method] = min(coverage(result["points"][0], t) for t in self.targets)
        return lowest

    def differences(self) -> dict[tuple[str, str], Interval]:
        """Return FCUS minus untrained, paired by seed, by source and target."""
        gains = {}
        for source in self.sources:
            for target in self.targets:
                pairs = [
                    (result["points"][0], self.untrained[result["trial"]["seed"]]["points"][0])
                    for result in self.fcus[source]
                    if result["points"]
                ]
                subjects = [by_subject(point, [target]) for pair in pairs for point in pair]
                values, groups = stack(subjects)
                gain = np.nanmean(values[0::2] - values[1::2], axis=0)
                gains[source, target] = bootstrap(gain, groups)
        return gains

    def train_seconds(self) -> list[float]:
        """Return how long each training of FCUS took, on one thread."""
        points = (point for source in self.sources for point in self.points("fcus", source))
        return [point["train_s"] for point in points]

    def peer_trainings(self) -> dict[str, Any]:
        """Return how far each peer's training went."""
        keys = ("epochs", "best_epoch", "clips_per_epoch", "config")
        return {
            f"{peer} {source} {result['trial']['seed']}": {key: result[key] for key in keys}
            | {"train_s": result["points"][-1]["train_s"]}
            for peer, by_source in self.peers.items()
            for source, results in by_source.items()
            for result in results
        }


def print_train_seconds(table: TransferTable) -> None:
    """Print the median of `TransferTable.train_seconds`, with the shortest and the longest."""
    seconds = table.train_seconds()
    print(
        f"\nFCUS's trainings took {median(seconds):.0f} s ({min(seconds):.0f}–{max(seconds):.0f}), "
        "each on one thread"
    )


def transfer_table(
    options: StudyOptions, results: Mapping[Trial, Result], further: Iterable[Result] = ()
) -> TransferTable:
    """Return the table of a study's results.

    Args:
        options: of the program.
        results: of its study.
        further: results of further methods that aren't trained.
    """
    study = options.study
    own = {name: [r for t, r in results.items() if t.method == name] for name in study.methods}
    others = (CONSTANT, UNTRAINED, *study.learners)
    return TransferTable(
        options.sources,
        constant={source: result for source, (result,) in by_source(results, CONSTANT).items()},
        fcus=by_source(results, "fcus"),
        untrained=own[UNTRAINED],
        classical={method: joined(own[method]) for method in own if method not in others}
        | {result["trial"]["method"]: result for result in further},
        peers={method: by_source(results, method) for method in study.learners if method != "fcus"},
        targets=tuple(dataset.name for dataset in study.data),
    )
