"""Finished runs, kept in a file, so that a benchmark that was broken off goes on from there."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.reuse import levels
from benchmarks.reuse.tasks import Task, images
from rppg.atomic import atomic_path


class Runs:
    """Runs by task, options and seed; each is made once.

    A run's key holds a digest of the task's code, so that an edited task starts anew. gradreg's
    own code is not in it: delete the file after a change there that matters.

    Args:
        path: the file, JSON; made if it is missing.
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
        """Keep a run's result; one that isn't finite is a failure, told as NaN."""
        self.values[key] = value if math.isfinite(value) else math.nan

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.values), encoding="utf-8")


def run_key(task: Task, options: Mapping[str, Any], seed: int) -> str:
    """Return what identifies a run."""
    chosen = ",".join(f"{name}={options[name]}" for name in sorted(options))
    return f"{task.name}@{source_digest(task)}|{chosen}|{seed}"


def source_digest(task: Task) -> str:
    """Return eight letters that change with the code that a run goes through."""
    own = inspect.getmodule(task.run)
    modules: list[ModuleType] = [levels, images] + ([own] if own else [])
    text = "".join(_code(module) for module in modules)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@cache
def _code(module: ModuleType) -> str:
    """Return a module's source without comments, docstrings and other bare constants."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                statement
                for statement in node.body
                if not (
                    isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                )
            ]
    return ast.unparse(tree)
