"""Finished trials in a file, so that an interrupted benchmark continues."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from benchmarks.reuse import levels
from benchmarks.reuse.tasks import Task, images
from rppg import atomic
from rppg.code_digest import digest_code

ROOT = Path(__file__).parents[2]


class Trials:
    """The main metric by task, options and seed; each trial is computed once.

    A trial's key holds a digest of the task's code, so that an edited task starts again. gradreg's
    code is not in it: delete the file after a change there that matters.

    Args:
        path: the JSON file; created if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, float] = {}
        if path.exists():
            self.values = json.loads(path.read_text(encoding="utf-8"))

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __getitem__(self, key: str) -> float:
        return self.values[key]

    def add(self, key: str, value: float) -> None:
        """Add a trial's metric; NaN, a failure, if it isn't finite."""
        self.values[key] = value if math.isfinite(value) else math.nan

    def save(self) -> None:
        """Write the file, whole or not at all."""
        atomic.write_text(self.path, json.dumps(self.values))


def trial_key(task: Task, options: Mapping[str, object], seed: int) -> str:
    """Return the key that identifies a trial."""
    chosen = ",".join(f"{name}={options[name]}" for name in sorted(options))
    return f"{task.name}@{source_digest(task)}|{chosen}|{seed}"


def source_digest(task: Task) -> str:
    """Return eight letters that change with the code of a task."""
    own = inspect.getmodule(task.run)
    modules: list[ModuleType] = [levels, images] + ([own] if own else [])
    return _digest(tuple(str(module.__file__) for module in modules))


@cache
def _digest(files: tuple[str, ...]) -> str:
    return digest_code(map(Path, files), root=ROOT)[:8]
