"""Finished runs on disk, one file each; and the missing ones made, in one process or several."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims.fcus import run_fcus, run_untrained
from benchmarks.claims.peer import run_peer
from benchmarks.claims.runs import Run, described, key
from benchmarks.claims.targets import run_classical
from benchmarks.claims.workers import pool_of
from rppg.atomic import atomic_path
from rppg.errors import InputError

Result = dict[str, Any]
"""What a run leaves: `run`, `points` (where it was evaluated), and what its learner tells."""

MAKERS: dict[str, Callable[[Run], Result]] = {
    "fcus": run_fcus,
    "untrained": run_untrained,
    "peer": run_peer,
    "classical": run_classical,
}


def _say(line: str) -> None:
    print(line, flush=True)


def path_of(folder: Path, run: Run) -> Path:
    """Where a run's result lies."""
    parts = [run.learner, run.source, str(run.seed), key(run)]
    return folder / ("-".join(part for part in parts if part) + ".json")


def load(folder: Path, run: Run) -> Result | None:
    """A run's result; None if it is not there, or did not go as far as is asked for."""
    path = path_of(folder, run)
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    far = found["run"]["epochs"] >= run.epochs or "failed" in found
    return found if far else None


def make(folder: Path, run: Run, expected: str) -> float:
    """Make a run and write its result, whole or not at all; returns the seconds it took.

    Raises:
        InputError: this process loaded other code than the one that planned the run.
    """
    torch.set_num_threads(1)  # as many as each learner has beside others in other processes
    started = time.monotonic()
    if key(run) != expected:
        raise InputError(
            f"{run.title}: the code changed while processes were starting; start again"
        )
    result = {"run": described(run), **MAKERS[run.kind](run)}
    result["unit_s"] = round(time.monotonic() - started, 1)
    with atomic_path(path_of(folder, run)) as temporary:
        temporary.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return time.monotonic() - started


def make_all(
    folder: Path, runs: Sequence[Run], *, jobs: int = 1, tell: Callable[[str], None] = _say
) -> list[Result]:
    """The results of all runs, in their order; those that are missing are made.

    Args:
        folder: of the results; made if it is missing.
        jobs: processes to make them in.
        tell: called with a line for each run made.
    """
    missing = [run for run in dict.fromkeys(runs) if load(folder, run) is None]
    if len(missing) < len(runs):
        tell(f"{len(runs) - len(missing)} of {len(runs)} runs are there already")
    if jobs <= 1:
        for done, run in enumerate(missing, 1):
            seconds = make(folder, run, key(run))
            tell(f"[{done}/{len(missing)}] {run.title}: {seconds:.0f} s")
    elif missing:
        _in_processes(folder, missing, jobs, tell)
    results = [load(folder, run) for run in runs]
    assert None not in results
    return [result for result in results if result is not None]


def _in_processes(
    folder: Path, missing: Sequence[Run], jobs: int, tell: Callable[[str], None]
) -> None:
    with pool_of(jobs) as pool:
        pending = {pool.submit(make, folder, run, key(run)): run for run in missing}
        try:
            for done, job in enumerate(as_completed(pending), 1):
                tell(f"[{done}/{len(missing)}] {pending[job].title}: {job.result():.0f} s")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
