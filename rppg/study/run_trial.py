"""One trial: trained, then tested on each of its parts; a failure is a result with its reason."""

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rppg.devices import find_device
from rppg.errors import InputError, WriteError, one_line
from rppg.estimators import FcusEstimator, PeerEstimator
from rppg.estimators.estimator import ConstantGuess, Estimator, constant_guess
from rppg.estimators.fcus import untrained
from rppg.estimators.find import find_estimator, load_estimator
from rppg.evaluation import Evaluation, Journal, evaluate
from rppg.evaluation.left_out import leave_out_without_windows
from rppg.study.config import CONSTANT, UNTRAINED, StudyConfig
from rppg.study.key import Job
from rppg.study.parts import Part, open_parts
from rppg.study.plan import Trial
from rppg.study.store import Result, Store
from rppg.study.train_trial import Trained, train_trial
from rppg.types import Recording

logger = logging.getLogger(__name__)

Method = Estimator | ConstantGuess

COLUMNS = ("record", "subject", "start_s", "end_s", "hr_true_bpm", "hr_pred_bpm", "snr_db",
           "correlation")  # fmt: skip
"""The columns of the windows that are kept; see `rppg.evaluation.Row`."""
DECIMALS = 4
"""To which bpm, dB, seconds and correlations are kept."""


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
        "tests": dict(before["tests"]),  # those of other evaluations, too
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
        for part, key in zip(job.trial.tests, job.tests, strict=True):
            if key in result["tests"]:
                continue
            clock_s = time.monotonic()
            try:
                test = _test(part, key, methods, study, folder, means)
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
        result["tests"] |= {k: {"failed": failed} for k in job.tests if k not in result["tests"]}
    store.save(job, result)
    return result


def _estimators(
    trial: Trial, study: StudyConfig, folder: Path, means: Means
) -> tuple[dict[int, Method], dict[str, Any], dict[str, float]]:
    """Return the estimators to test, by the epoch (0 for what isn't trained), and what is known of
    their training: what always is the same, and seconds by epoch."""
    if trial.learned:
        trained = train_trial(
            trial,
            study,
            folder,
            device=means.device,
            workers=means.workers,
            cache=means.cache,
        )
        return _load(trained, means.device), dict(trained.about), _seconds(trained)
    if trial.method == UNTRAINED:
        return {0: untrained(seed=trial.seed)}, {}, {}
    if trial.method == CONSTANT:
        recordings = open_parts(trial.training, study, cache=means.cache, workers=means.workers)
        bpm, windows = mean_rate(recordings, study)
        return {0: constant_guess(bpm)}, {"bpm": bpm, "windows": windows}, {}
    return {0: find_estimator(trial.method)}, {}, {}


def mean_rate(recordings: Sequence[Recording], study: StudyConfig) -> tuple[float, int]:
    """Return the mean true heart rate of all windows in bpm, and their number.

    Raises:
        InputError: no window has a true heart rate.
    """
    protocol = study.evaluation.build()
    rows = evaluate(recordings, {CONSTANT: constant_guess(75)}, protocol, verified=False).windows
    rates = [row.hr_true_bpm for row in rows if math.isfinite(row.hr_true_bpm)]
    if not rates:
        raise InputError("no window of the training set has a true heart rate to guess")
    return sum(rates) / len(rates), len(rates)


def _load(trained: Trained, device: str) -> dict[int, Method]:
    methods: dict[int, Method] = {}
    for epoch, path in trained.checkpoints.items():
        estimator = load_estimator(path)
        if isinstance(estimator, FcusEstimator | PeerEstimator):
            estimator.net.to(find_device(device))
        methods[epoch] = estimator
    return methods


def _seconds(trained: Trained) -> dict[str, float]:
    return {str(epoch): round(seconds, 3) for epoch, seconds in trained.seconds.items()}


def _test(
    part: Part,
    key: str,
    methods: Mapping[int, Method],
    study: StudyConfig,
    folder: Path,
    means: Means,
) -> dict[str, Any]:
    """Evaluate estimators on a part; each recording's outcome is kept until the trial is stored."""
    recordings = open_parts((part,), study, cache=means.cache, workers=means.workers)
    journal = Journal(folder / f"test-{key}.jsonl", {"key": key}, resume=True)
    named = {str(epoch): method for epoch, method in methods.items()}
    protocol = study.evaluation.build()
    evaluation = evaluate(recordings, named, protocol, journal=journal, verified=False)
    evaluation = leave_out_without_windows(evaluation, recordings)
    kept = {row.record for row in evaluation.windows}
    return {
        "part": asdict(part),
        "recordings": {
            r.name: {"subject": r.subject, "metadata": dict(r.metadata)}
            for r in recordings
            if r.name in kept
        },
        "windows": {epoch: _columns(evaluation, epoch) for epoch in named},
        "left_out": [
            {"recording": f.record, "reason": f.reason, "method": f.method is not None}
            for f in evaluation.failures
        ],
    }


def _columns(evaluation: Evaluation, method: str) -> dict[str, list[Any]]:
    rows = [row for row in evaluation.windows if row.method == method]
    return {name: [_rounded(getattr(row, name)) for row in rows] for name in COLUMNS}


def _rounded(value: str | float) -> str | float:
    return round(value, DECIMALS) if isinstance(value, float) else value


def _failure(title: str, error: Exception) -> dict[str, Any]:
    """Return why something failed, and whether another try may succeed."""
    expected = isinstance(error, InputError) and not isinstance(error, WriteError)
    if isinstance(error, InputError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {one_line(error, 400)}"
        logger.error("%s: %s", title, reason, exc_info=logger.isEnabledFor(logging.DEBUG))
    return {"reason": reason, "again": not expected}
