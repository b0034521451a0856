"""The protocol: tuning with the same budget for each variant, then the table.

1. Tuning. For each task and variant, some settings are drawn at random, without repetition, from
   the task's space: the optimizer's options for all variants, and those of the variant's levels.
   Each is tried on the tuning seeds; the best mean of the main metric wins.
2. Table. The winner is evaluated on the table's seeds, none of which was used for tuning, and
   compared with the plain optimizer seed by seed.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch

from benchmarks.reuse.levels import LEVELS
from benchmarks.reuse.statistics import Interval, paired_gain
from benchmarks.reuse.tasks import TASKS, Task
from benchmarks.reuse.trials import Trials, trial_key
from rppg.processes import work_through

Options = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """An optimizer with some of the levels.

    Args:
        levels: names of the levels.
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
    """The size of the benchmark.

    Args:
        settings: number of settings tried for each variant.
        tuning_seeds: seeds on which they are tried.
        table_seeds: seeds of the table.
    """

    settings: int
    tuning_seeds: Sequence[int]
    table_seeds: Sequence[int]

    def __post_init__(self) -> None:
        shared = sorted(set(self.tuning_seeds) & set(self.table_seeds))
        if shared:
            raise ValueError(
                f"expected tuning seeds that aren't in the table, found {shared} in both: the "
                "table would be judged on what it was tuned on"
            )


FULL = Budget(settings=20, tuning_seeds=range(100, 103), table_seeds=range(12))
QUICK = Budget(settings=2, tuning_seeds=range(100, 102), table_seeds=range(2))


def settings(task: Task, variant: str, count: int) -> list[Options]:
    """Draw `count` settings to try, the same at every call."""
    chosen = VARIANTS[variant]
    of_levels = {option for options in LEVELS.values() for option in options}
    own = {option for level in chosen.levels for option in LEVELS[level]}
    names = [name for name in task.space if name in own or name not in of_levels]
    choices = [[chosen.fixed[name]] if name in chosen.fixed else task.space[name] for name in names]
    grid = list(itertools.product(*choices))
    drawn = random.Random(f"{task.name} {variant}").sample(grid, min(count, len(grid)))
    return [dict(zip(names, values, strict=True)) for values in drawn]


def winner(task: Task, trials: Trials, tried: Sequence[Options], seeds: Sequence[int]) -> Options:
    """Return the setting with the best mean; a setting that failed on a seed can't win."""
    sign = 1.0 if task.metric.higher_is_better else -1.0

    def score(options: Options) -> float:
        mean = sign * fmean(trials[trial_key(task, options, seed)] for seed in seeds)
        return mean if math.isfinite(mean) else -math.inf

    return max(tried, key=score)


@dataclass(frozen=True)
class Row:
    """A variant's row in the table of a task.

    Args:
        options: the tuned setting.
        values: the main metric, one per table seed.
        gain: over the plain optimizer, positive if better; None for the plain one.
        tuned: the main metric's mean on the tuning seeds.
    """

    options: Options
    values: Sequence[float]
    gain: Interval | None
    tuned: float


def run_all(
    names: Sequence[str], budget: Budget, trials: Trials, *, quick: bool, workers: int
) -> dict[str, dict[str, Row]]:
    """Compute all missing trials, and return the rows by task and variant."""
    tried = {
        (name, variant): [
            {**options, **(TASKS[name].quick if quick else {})}
            for options in settings(TASKS[name], variant, budget.settings)
        ]
        for name in names
        for variant in VARIANTS
    }
    tuning = [
        (name, options, seed)
        for (name, _), candidates in tried.items()
        for options in candidates
        for seed in budget.tuning_seeds
    ]
    _compute(trials, tuning, workers)
    best = {
        key: winner(TASKS[key[0]], trials, candidates, budget.tuning_seeds)
        for key, candidates in tried.items()
    }
    table = [
        (name, options, seed) for (name, _), options in best.items() for seed in budget.table_seeds
    ]
    _compute(trials, table, workers)
    return {name: dict(_rows(TASKS[name], trials, best, budget)) for name in names}


def _rows(
    task: Task, trials: Trials, best: Mapping[tuple[str, str], Options], budget: Budget
) -> Iterator[tuple[str, Row]]:
    def values(variant: str, seeds: Sequence[int]) -> list[float]:
        return [trials[trial_key(task, best[task.name, variant], seed)] for seed in seeds]

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


Job = tuple[str, Options, int]
"""A trial to compute: a task's name, options and a seed."""


def _compute(trials: Trials, wanted: Sequence[Job], workers: int) -> None:
    """Compute the missing trials; save after every 50 of them."""
    jobs = {trial_key(TASKS[name], options, seed): (name, options, seed)
            for name, options, seed in wanted}  # fmt: skip
    missing = [key for key in jobs if key not in trials]
    print(f"{len(missing)} trials to compute, {len(jobs) - len(missing)} finished", flush=True)
    finished = 0

    def done(index: int, value: float | None) -> None:
        nonlocal finished
        if value is None:
            raise RuntimeError(f"{missing[index]}: its process died; use fewer workers")
        trials.add(missing[index], value)
        finished += 1
        if finished % 50 == 0:
            trials.save()
            print(f"{finished} of {len(missing)}", flush=True)

    try:
        work_through(_train, [jobs[key] for key in missing], workers, done)
    finally:
        trials.save()


def _train(job: Job) -> float:
    torch.set_num_threads(1)
    name, options, seed = job
    return TASKS[name].run(options, seed)
