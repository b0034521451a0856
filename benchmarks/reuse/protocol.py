"""Which runs are made: the same number of trials for each variant, then the table.

1. Tuning. For each task and variant, `trials` settings are drawn at random, without repetition,
   from the task's space: the optimizer's options for all variants, and those of the levels that
   the variant has. Each runs on the tuning seeds; the best mean of the main metric wins.
2. Table. The winner runs on the table's seeds, none of which was used for tuning, and is compared
   with the plain optimizer seed by seed.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch

from benchmarks.reuse.levels import LEVELS
from benchmarks.reuse.runs import Runs, run_key
from benchmarks.reuse.statistics import Interval, paired_gain
from benchmarks.reuse.tasks import TASKS, Task

Options = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """An optimizer with some of the levels.

    Args:
        levels: those it has.
        fixed: options that aren't tuned.
    """

    levels: Sequence[str]
    fixed: Mapping[str, Any] = field(default_factory=dict)


VARIANTS: Mapping[str, Variant] = {
    "plain": Variant(()),
    "mask": Variant(("mask",)),
    "smooth": Variant(("smooth",)),
    "project": Variant(("project",)),
    "all three": Variant(("mask", "smooth", "project")),
    # Controls, tuned as the others.
    "all but smooth": Variant(("mask", "project")),
    "project, not cleared": Variant(("project",), {"clear": False}),
    "cleared, then plain": Variant(("project",), {"clear": "only"}),
}


@dataclass(frozen=True)
class Budget:
    """How much is run.

    Args:
        trials: settings tried for each variant.
        tuning_seeds: seeds on which they are tried.
        table_seeds: seeds of the table.
    """

    trials: int
    tuning_seeds: Sequence[int]
    table_seeds: Sequence[int]

    def __post_init__(self) -> None:
        shared = sorted(set(self.tuning_seeds) & set(self.table_seeds))
        if shared:
            raise ValueError(
                f"expected tuning seeds that aren't in the table, found {shared} in both: the "
                "table would be judged on what it was tuned on"
            )


FULL = Budget(trials=20, tuning_seeds=range(100, 103), table_seeds=range(12))
QUICK = Budget(trials=2, tuning_seeds=range(100, 102), table_seeds=range(2))


def settings(task: Task, variant: str, trials: int) -> list[Options]:
    """Draw the settings that are tried, the same at every call."""
    chosen = VARIANTS[variant]
    of_levels = {option for options in LEVELS.values() for option in options}
    own = {option for level in chosen.levels for option in LEVELS[level]}
    names = [name for name in task.space if name in own or name not in of_levels]
    choices = [[chosen.fixed[name]] if name in chosen.fixed else task.space[name] for name in names]
    grid = list(itertools.product(*choices))
    drawn = random.Random(f"{task.name} {variant}").sample(grid, min(trials, len(grid)))
    return [dict(zip(names, values, strict=True)) for values in drawn]


def winner(task: Task, runs: Runs, tried: Sequence[Options], seeds: Sequence[int]) -> Options:
    """Return the setting with the best mean; a setting that failed on a seed can't win."""
    sign = 1.0 if task.metric.higher_is_better else -1.0

    def score(options: Options) -> float:
        mean = sign * fmean(runs[run_key(task, options, seed)] for seed in seeds)
        return mean if math.isfinite(mean) else -math.inf

    return max(tried, key=score)


@dataclass(frozen=True)
class Row:
    """A variant's line in the table of a task.

    Args:
        options: the tuned setting.
        values: the main metric, one a table seed.
        gain: over the plain optimizer, positive where better; None for the plain one.
        tuned: the main metric's mean on the tuning seeds.
    """

    options: Options
    values: Sequence[float]
    gain: Interval | None
    tuned: float


def run_all(
    names: Sequence[str], budget: Budget, runs: Runs, *, quick: bool, workers: int
) -> dict[str, dict[str, Row]]:
    """Make all runs that aren't there yet, and return the rows by task and variant."""
    tried = {
        (name, variant): [
            {**options, **(TASKS[name].quick if quick else {})}
            for options in settings(TASKS[name], variant, budget.trials)
        ]
        for name in names
        for variant in VARIANTS
    }
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        _make(pool, runs, [
            (name, options, seed)
            for (name, _), candidates in tried.items()
            for options in candidates
            for seed in budget.tuning_seeds
        ])  # fmt: skip
        best = {
            key: winner(TASKS[key[0]], runs, candidates, budget.tuning_seeds)
            for key, candidates in tried.items()
        }
        _make(pool, runs, [
            (name, options, seed)
            for (name, _), options in best.items()
            for seed in budget.table_seeds
        ])  # fmt: skip
    return {name: dict(_rows(TASKS[name], runs, best, budget)) for name in names}


def _rows(
    task: Task, runs: Runs, best: Mapping[tuple[str, str], Options], budget: Budget
) -> Iterator[tuple[str, Row]]:
    def values(variant: str, seeds: Sequence[int]) -> list[float]:
        return [runs[run_key(task, best[task.name, variant], seed)] for seed in seeds]

    plain = values("plain", budget.table_seeds)
    for variant in VARIANTS:
        own = values(variant, budget.table_seeds)
        gain = paired_gain(own, plain, higher_is_better=task.metric.higher_is_better)
        yield (
            variant,
            Row(
                best[task.name, variant],
                own,
                None if variant == "plain" else gain,
                fmean(values(variant, budget.tuning_seeds)),
            ),
        )


def _make(
    pool: ProcessPoolExecutor, runs: Runs, wanted: Sequence[tuple[str, Options, int]]
) -> None:
    """Make the runs that are missing; save every few, so that little is lost."""
    keys = {run_key(TASKS[name], options, seed): (name, options, seed)
            for name, options, seed in wanted}  # fmt: skip
    missing = [key for key in keys if key not in runs]
    print(f"{len(missing)} runs to make, {len(keys) - len(missing)} there", flush=True)
    try:
        for i, (key, value) in enumerate(
            zip(missing, pool.map(_run, [keys[key] for key in missing], chunksize=2), strict=True)
        ):
            runs.add(key, value)
            if i % 50 == 49:
                runs.save()
                print(f"{i + 1} of {len(missing)}", flush=True)
    finally:
        runs.save()


def _run(wanted: tuple[str, Options, int]) -> float:
    name, options, seed = wanted
    return TASKS[name].run(options, seed)
