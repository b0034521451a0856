"""A task and its metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """The main metric of a task.

    Args:
        name: what is measured, and on which data.
        higher_is_better: its direction.
    """

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class Task:
    """An unsupervised task.

    Args:
        name: one word.
        title: one line.
        metric: the main metric.
        space: the choices of each option: those of the optimizer, and `"mask"`, `"rho"` and
            `"clear"` of the levels.
        quick: options that make a training short, for tests.
        run: from options and a seed to the main metric.
    """

    name: str
    title: str
    metric: Metric
    space: Mapping[str, Sequence[Any]]
    quick: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], int], float]
