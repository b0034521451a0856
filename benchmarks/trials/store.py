"""Finished trials on disk, and the missing ones computed, in one process or several."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.timed_jobs import Report, print_at_once, run_timed_jobs
from benchmarks.trials.contaminated import run_contaminated
from benchmarks.trials.contaminated_peer import run_contaminated_peer
from benchmarks.trials.fcus import run_fcus
from benchmarks.trials.filtered import run_filtered
from benchmarks.trials.key import CODE_DIGESTS, key
from benchmarks.trials.trial_settings import Trial
from rppg import atomic
from rppg.errors import InputError

Result = dict[str, Any]
"""A finished trial: `key`, `code`, `trial`, `points` (one for each evaluation), and what its
method adds."""

RUN: dict[str, Callable[[Trial], Result]] = {
    "fcus": run_fcus,
    "contaminated": run_contaminated,
    "contaminated_peer": run_contaminated_peer,
    "filtered": run_filtered,
}

COMMITTED = Path("docs/results")
NEW = Path("runs/benchmarks")


@dataclass(frozen=True)
class Store:
    """Results by key and code: a committed file, and single files that came later and win.

    Attributes:
        packed: the committed file, one result per line as JSON.
        folder: of the single files, written as the results are computed.
    """

    packed: Path
    folder: Path

    def path(self, name: str, key: str, code: str) -> Path:
        """Return the single file of a result."""
        return self.folder / f"{name}-{key}-{code}.json"

    def load(self, name: str, key: str, code: str) -> Result | None:
        """Return a result that this code computed; None if there is none."""
        path = self.path(name, key, code)
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        result = packed_results(self.packed).get(key)
        return result if result is not None and result["code"] == code else None

    def save(self, name: str, result: Result) -> None:
        """Write a result's single file, whole or not at all."""
        path = self.path(name, result["key"], result["code"])
        atomic.write_text(path, json.dumps(result) + "\n")


def trial_store(folder: Path = NEW) -> Store:
    """Return the store of all trials; single files are in `folder`."""
    return Store(COMMITTED / "trials.jsonl", folder / "trials")


def cost_store(folder: Path = NEW) -> Store:
    """Return the store of what `epoch_cost` measured; single files are in `folder`."""
    return Store(COMMITTED / "epoch_costs.jsonl", folder / "epoch_costs")


def packed_results(path: Path) -> Mapping[str, Result]:
    """Return the results in a committed file, by key."""
    return _read_packed(path, path.stat().st_mtime_ns) if path.exists() else {}


@lru_cache(maxsize=4)
def _read_packed(path: Path, modified: int) -> Mapping[str, Result]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {result["key"]: result for result in map(json.loads, lines)}


def file_name(trial: Trial) -> str:
    """Return the start of the name of a trial's single file."""
    return "-".join(part for part in (trial.method, trial.source, str(trial.seed)) if part)


def load(store: Store, trial: Trial) -> Result | None:
    """Return a trial's result; None if it is missing, or has too few epochs."""
    result = store.load(file_name(trial), key(trial), CODE_DIGESTS[trial.kind])
    if result is None:
        return None
    complete = result["trial"]["epochs"] >= trial.epochs or "failed" in result
    return result if complete else None


def compute(job: tuple[Store, Trial, str]) -> float:
    """Compute a trial, store its result, and return the seconds it took.

    Args:
        job: the store, the trial, and the digest of the code by which it was planned.

    Raises:
        InputError: this process loaded other code than the one that planned the trial.
    """
    store, trial, code = job
    torch.set_num_threads(1)  # processes share the CPUs
    started = time.monotonic()
    if CODE_DIGESTS[trial.kind] != code:
        raise InputError(
            f"{trial.title}: the code changed while processes were starting; start again"
        )
    result = {"key": key(trial), "code": code, "trial": trial.to_json(), **RUN[trial.kind](trial)}
    result["unit_s"] = round(time.monotonic() - started, 1)
    store.save(file_name(trial), result)
    return time.monotonic() - started


def run_all(
    store: Store,
    trials: Sequence[Trial],
    *,
    jobs: int = 1,
    report: Report = print_at_once,
) -> list[Result]:
    """Return the results of all trials, in their order; the missing ones are computed.

    Args:
        jobs: number of processes.
        report: called with a line of text after each trial.

    Raises:
        RuntimeError: a process died, most likely because memory ran out.
    """
    missing = [trial for trial in dict.fromkeys(trials) if load(store, trial) is None]
    if len(missing) < len(trials):
        report(f"{len(trials) - len(missing)} of {len(trials)} trials are finished already")
    work = [(store, trial, CODE_DIGESTS[trial.kind]) for trial in missing]
    titles = [trial.title for trial in missing]
    run_timed_jobs(compute, work, titles, workers=jobs, report=report)
    results = [load(store, trial) for trial in trials]
    assert None not in results
    return [result for result in results if result is not None]
