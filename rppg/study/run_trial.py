"""One trial: trained, then tested on each of its parts; a failure is a result with its reason."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rppg.devices import find_device
from rppg.errors import InputError, WriteError, one_line
from rppg.estimators import FcusEstimator, PeerEstimator
from rppg.estimators.estimator import Estimator, constant_guess
from rppg.estimators.fcus import untrained
from rppg.estimators.find import find_estimator, load_estimator
from rppg.study.config import CONSTANT, UNTRAINED, StudyConfig
from rppg.study.evaluate_part import Method, evaluate_part, mean_rate
from rppg.study.key import Job
from rppg.study.parts import Part, open_parts
from rppg.study.plan import Trial
from rppg.study.progress import FILE as PROGRESS
from rppg.study.progress import progress_writer
from rppg.study.store import Result, Store
from rppg.study.train_trial import Trained, train_trial
from rppg.types import Recording

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Means:
    """With what trials are run; no result depends on it but for rounding.

    Attributes:
        device: of the networks.
        threads: of torch, in each process.
        workers: processes that read videos.
        cache: whether crops are kept in the cache.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    cache: bool = True


def run_trial(job: Job, study: StudyConfig, store: Store, means: Means) -> Result:
    """Run what is missing of a trial, store its result, and return it.

    Whatever fails is stored as `failed`, with the reason. What another try may not meet again (a
    full disk, too little memory, a bug) is marked, so that the next run tries again.

    Raises:
        WriteError: the result can't be stored.
    """
    torch.set_num_threads(means.threads)
    before = store.load(job) or {"tests": {}, "timing": {}}
    begun, started_s = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    result: Result = {
        "training": {},
        "tests": store.finished_tests(job, before),
        "timing": {"tests_s": {}, **before["timing"], "begun": begun},
    }
    folder = store.run_folder(job)
    try:
        methods, about, seconds = _estimators(job.trial, study, folder, means)
    except Exception as error:  # noqa: BLE001  one trial's failure, whatever it is, is a result
        result |= {"failed": _failure(job.trial.title, error), "tests": {}}
    else:
        result["training"] = about
        result["timing"]["train_s"] = seconds
        tested = _counter(job, folder, result["tests"])
        for part, key in zip(job.trial.tests, job.tests, strict=True):
            if key in result["tests"]:
                continue
            clock_s = time.monotonic()
            waves = store.waves_folder(job, part) if job.waves else None
            try:
                recordings = _open((part,), study, means)
                test = evaluate_part(
                    part,
                    methods,
                    recordings,
                    study,
                    key=key,
                    folder=folder,
                    label=job.trial.label,
                    waves=waves,
                    progress=tested,
                )
            except Exception as error:  # noqa: BLE001  as above
                test = {"failed": _failure(f"{job.trial.title}: {part.title}", error)}
            result["tests"][key] = test
            result["timing"]["tests_s"][key] = round(time.monotonic() - clock_s, 3)
    spent_s = before["timing"].get("spent_s", 0.0) + time.monotonic() - started_s
    result["timing"] |= {
        "spent_s": round(spent_s, 3),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.save(job, result)
    (folder / PROGRESS).unlink(missing_ok=True)
    for journal in folder.glob("*.jsonl"):
        if journal.stem.startswith("test-"):
            journal.unlink()
    with contextlib.suppress(OSError):  # what isn't trained leaves nothing in it
        folder.rmdir()
    return result


def died(job: Job, store: Store) -> Result:
    """Store that the process of a trial died, which another try may not."""
    failed = {"reason": "its process died; was there memory enough? Use fewer jobs", "again": True}
    result = store.load(job)
    if result is None:
        result = {"training": {}, "tests": {}, "timing": {}, "failed": failed}
    else:
        finished = store.finished_tests(job, result)
        result["tests"] = {key: {"failed": failed} for key in job.tests} | finished
    store.save(job, result)
    return result


def _counter(job: Job, folder: Path, finished: Mapping[str, Any]) -> Callable[[Recording], None]:
    """Return a function that counts the recordings as they are tested, in the progress file."""
    counts = dict(zip(job.tests, job.recordings[1], strict=True))
    done, total = sum(counts[key] for key in counts.keys() & finished.keys()), sum(counts.values())
    write = progress_writer(folder / PROGRESS, "tests")

    def after_recording(_: Recording) -> None:
        nonlocal done
        done += 1
        write(done, total, f"{done} of {total} recordings tested")

    return after_recording


def _estimators(
    trial: Trial, study: StudyConfig, folder: Path, means: Means
) -> tuple[dict[str, Method], dict[str, Any], dict[str, float]]:
    """Return the estimators to test, by the epoch (0 for what isn't trained), and what is known of
    their training: what always is the same, and seconds by epoch."""
    if trial.learned:
        trained = train_trial(
            trial,
            study,
            folder,
            device=means.device,
            threads=means.threads,
            workers=means.workers,
            cache=means.cache,
            progress=folder / PROGRESS,
        )
        return _load(trained, means.device), dict(trained.about), _seconds(trained)
    if trial.method == CONSTANT:
        recordings = _open(trial.training, study, means)
        bpm, windows = mean_rate(recordings, study)
        return {"0": constant_guess(bpm)}, {"bpm": bpm, "windows": windows}, {}
    return {"0": _on_device(ready_estimator(trial), means.device)}, {}, {}


def _open(parts: Sequence[Part], study: StudyConfig, means: Means) -> list[Recording]:
    return open_parts(parts, study, cache=means.cache, workers=means.workers)


def ready_estimator(trial: Trial) -> Estimator:
    """Return the estimator of a trial that needs no training set.

    Raises:
        InputError: the checkpoint can't be read.
    """
    if trial.method == UNTRAINED:
        return untrained(seed=trial.seed)
    if trial.checkpoint is not None:
        return find_estimator(checkpoint=trial.checkpoint)
    return find_estimator(trial.method)


def _load(trained: Trained, device: str) -> dict[str, Method]:
    return {
        str(e): _on_device(load_estimator(path), device) for e, path in trained.checkpoints.items()
    }


def _on_device(estimator: Estimator, device: str) -> Estimator:
    if isinstance(estimator, FcusEstimator | PeerEstimator):
        estimator.net.to(find_device(device))
    return estimator


def _seconds(trained: Trained) -> dict[str, float]:
    return {str(epoch): round(seconds, 3) for epoch, seconds in trained.seconds.items()}


def _failure(title: str, error: Exception) -> dict[str, Any]:
    """Return why something failed, and whether another try may succeed."""
    expected = isinstance(error, InputError) and not isinstance(error, WriteError)
    if isinstance(error, InputError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {one_line(error, 400)}"
        logger.error("%s: %s", title, reason, exc_info=logger.isEnabledFor(logging.DEBUG))
    return {"reason": reason, "again": not expected}
