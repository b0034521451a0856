"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """The one number by which a task is judged.

    Args:
        name: what is measured, on what.
        higher_is_better: its direction.
    """

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class Task:
    """An unsupervised task.

    Args:
        name: a word.
        title: a line.
        metric: the main metric.
        space: the choices of each option: those of the optimizer, and `"mask"`, `"rho"` and
            `"clear"` of the levels.
        quick: options that make a run short, whatever it then is worth.
        run: from options and a seed to the main metric.
    """

    name: str
    title: str
    metric: Metric
    space: Mapping[str, Sequence[Any]]
    quick: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], int], float]
