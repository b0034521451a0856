"""Who was trained on what, and how good it is on each domain: rows and columns of the table."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.claims.options import spread
from benchmarks.claims.statistics import (
    Interval,
    Point,
    bootstrap,
    by_subject,
    coverage,
    guess_mae,
    mae,
    pearson,
    stack,
)
from benchmarks.claims.stored import Result
from rppg.synthetic.domains import DOMAINS

TARGETS = tuple(DOMAINS)

Columns = dict[str, dict[str, float]]
"""A value for each row of the table and each target."""


class Table:
    """All results, by row and column."""

    def __init__(
        self,
        sources: Sequence[str],
        fcus: dict[str, list[Result]],
        untrained: list[Result],
        classical: dict[str, Result],
        peers: dict[str, dict[str, list[Result]]],
    ) -> None:
        self.sources = sources
        self.fcus, self.untrained, self.classical, self.peers = fcus, untrained, classical, peers

    def points(self, learner: str, source: str) -> list[Point]:
        """One a seed: FCUS after its first epoch, a peer where its own criterion says."""
        if learner == "fcus":
            return [p for run in self.fcus[source] for p in run["points"] if p["epoch"] == 1]
        runs = self.peers[learner][source]
        return [point for run in runs for point in run["points"] if point.get("picked")]

    def cell(self, learner: str, source: str, target: str) -> list[float]:
        """MAE of each seed."""
        return [mae(point, target) for point in self.points(learner, source)]

    def foreign(self, target: str) -> list[str]:
        """Sources other than the target."""
        return [source for source in self.sources if source != target]

    def matrix(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """MAE of each seed, by learner, source and target."""
        return {
            learner: {s: {t: self.cell(learner, s, t) for t in TARGETS} for s in self.sources}
            for learner in ("fcus", *self.peers)
        }

    def matrix_lines(self) -> list[list[str]]:
        """FCUS's matrix, as it is printed."""
        return [[s, *(spread(self.cell("fcus", s, t)) for t in TARGETS)] for s in self.sources]

    def columns(self) -> Columns:
        """What every method gets on each target, those that are trained from foreign sources."""
        first = self.untrained[0]["points"][0]
        middle = {name: sum(DOMAINS[name].hr_bpm) / 2 for name in self.sources}
        found: Columns = {
            "constant guess": {
                t: fmean(guess_mae(first, t, middle[s]) for s in self.foreign(t)) for t in TARGETS
            }
        }
        for method, run in self.classical.items():
            found[method.upper()] = {t: mae(run["points"][0], t) for t in TARGETS}
        for learner in (*self.peers, "untrained", "fcus"):
            found[learner] = {t: self._column(learner, t) for t in TARGETS}
        return found

    def _column(self, learner: str, target: str) -> float:
        if learner == "untrained":
            return median(mae(run["points"][0], target) for run in self.untrained)
        return fmean(median(self.cell(learner, s, target)) for s in self.foreign(target))

    def correlations(self) -> dict[str, list[float]]:
        """FCUS's Pearson r on each target, of every foreign source and seed."""
        return {
            t: [pearson(p, t) for s in self.foreign(t) for p in self.points("fcus", s)]
            for t in TARGETS
        }

    def coverages(self) -> dict[str, float]:
        """Least share of windows with an estimate, by learner, over all cells."""
        found = {
            learner: min(
                coverage(p, t)
                for s in self.sources
                for p in self.points(learner, s)
                for t in TARGETS
            )
            for learner in ("fcus", *self.peers)
        }
        for method, run in self.classical.items():
            found[method] = min(coverage(run["points"][0], t) for t in TARGETS)
        return found

    def differences(self) -> dict[tuple[str, str], Interval]:
        """FCUS less untrained of the same seed, averaged over seeds, by source and target."""
        found = {}
        for source in self.sources:
            for target in TARGETS:
                pairs = [
                    (run["points"][0], self.untrained[run["run"]["seed"]]["points"][0])
                    for run in self.fcus[source]
                    if run["points"]
                ]
                people = [by_subject(point, [target]) for pair in pairs for point in pair]
                values, groups = stack(people)
                gain = np.nanmean(values[0::2] - values[1::2], axis=0)
                found[source, target] = bootstrap(gain, groups)
        return found

    def peer_stories(self) -> dict[str, Any]:
        """How far each peer's runs went."""
        keys = ("stopped", "epochs_done", "epochs_published", "clips_per_epoch", "parameters")
        return {
            f"{peer} {source} {run['run']['seed']}": {key: run[key] for key in keys}
            | {"train_s": run["points"][-2]["train_s"], "config": run["config"]}
            for peer, by_source in self.peers.items()
            for source, runs in by_source.items()
            for run in runs
        }
