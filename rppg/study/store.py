"""Finished trials on disk, one file each or packed, and the folders in which trials work."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rppg.atomic import write_text
from rppg.json_values import finite_or_null
from rppg.study.key import Job
from rppg.study.parts import Part

logger = logging.getLogger(__name__)

Result = dict[str, Any]
"""A stored trial: `key`, `trial`, `training` (what was trained on, and what came of it), `tests`
(by key: the windows, what was left out, and whether waves were written), `timing`; and `failed`,
with the reason, if its training failed. A test that failed as a whole has `failed`, too."""

FORMAT = 1
PACKED = "trials.jsonl"


@dataclass(frozen=True)
class Store:
    """The folder of a study.

    Attributes:
        folder: OUT: `trials/` has one file per finished trial, `runs/` its checkpoint, log and the
            state to resume from, `waves/` its waves if they are wanted, `claims/` says which
            process works on which trial. Trials in `trials.jsonl`, one a line, are read where they
            have no file, and never written.
    """

    folder: Path

    def path(self, job: Job) -> Path:
        """Return the file of a trial's result."""
        return self.folder / "trials" / f"{job.name}.json"

    def run_folder(self, job: Job) -> Path:
        """Return the folder in which a trial works and keeps its checkpoint."""
        return self.folder / "runs" / job.name

    def waves_folder(self, job: Job, part: Part) -> Path:
        """Return the folder of a trial's waves on a part, a file for each recording."""
        name = f"fold-{part.fold}" if part.kind == "fold" else part.kind
        return self.folder / "waves" / job.name / name

    @property
    def claims(self) -> Path:
        """The folder of the claims."""
        return self.folder / "claims"

    def load(self, job: Job) -> Result | None:
        """Return what is stored of a trial; None if there is nothing that can be read."""
        path = self.path(job)
        try:
            result: Result = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            line = self.packed().get(job.key)
            return None if line is None else json.loads(line)
        except (OSError, ValueError) as error:
            logger.warning("%s: can't be read (%s); the trial is run again", path, error)
            return None
        if not isinstance(result, dict) or result.get("format") != FORMAT:
            logger.warning("%s: of another version; the trial is run again", path)
            return None
        return result

    def packed(self) -> Mapping[str, str]:
        """Return the lines of `trials.jsonl` by their keys."""
        path = self.folder / PACKED
        return _packed_lines(path, path.stat().st_mtime_ns) if path.exists() else {}

    def save(self, job: Job, result: Result) -> None:
        """Write a trial's file, whole or not at all.

        Raises:
            WriteError: the disk is full, or the folder can't be written to.
        """
        about = {"key": job.key, "identity": job.identity, "trial": job.trial.to_json()}
        identities = dict(zip(job.tests, job.test_identities, strict=True))
        tests = {
            key: {**test, "identity": identities[key]} if key in identities else test
            for key, test in result["tests"].items()
        }
        document = {"format": FORMAT, **about, **result, "tests": tests}
        write_text(self.path(job), json.dumps(finite_or_null(document)) + "\n")

    def complete(self, job: Job) -> bool:
        """Return whether nothing is left to do for a trial."""
        result = self.load(job)
        if result is None:
            return False
        finished = self.finished_tests(job, result)
        return "failed" in result or all(key in finished for key in job.tests)

    def finished_tests(self, job: Job, result: Result) -> dict[str, Any]:
        """Return the stored tests by key, those of other evaluations, too, but the trial's that are
        to be repeated: their waves are wanted, and were not written, or removed.
        """
        tests = dict(result["tests"])
        if not job.waves:
            return tests
        for part, key in zip(job.trial.tests, job.tests, strict=True):
            test = tests.get(key, {})
            has_waves = test.get("waves", False) and self.waves_folder(job, part).is_dir()
            if "failed" not in test and not has_waves:
                tests.pop(key, None)
        return tests

    def forget_circumstances(self, jobs: Iterable[Job]) -> None:
        """Forget failures that another try may not have: a full disk, too little memory."""
        for job in jobs:
            result = self.load(job)
            if result is None:
                continue
            if result.get("failed", {}).get("again"):
                self.path(job).unlink(missing_ok=True)
                continue
            tests = result["tests"]
            kept = {k: t for k, t in tests.items() if not t.get("failed", {}).get("again")}
            if len(kept) < len(tests):
                self.save(job, {**result, "tests": kept})


@lru_cache(maxsize=4)
def _packed_lines(path: Path, modified: int) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["key"]: line for line in lines}
