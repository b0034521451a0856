"""What a study costs: seconds by trial, from stored trials or a first measured epoch; disk; memory.

Costs are kept in OUT/costs.json, by method. They are of one machine, and no result depends on them.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rppg.atomic import write_text
from rppg.crops.cache import CachedCrops
from rppg.errors import InputError
from rppg.estimators.estimator import ConstantGuess, constant_guess
from rppg.estimators.find import load_estimator
from rppg.evaluation import Estimator, evaluate
from rppg.peers.train import train_peer
from rppg.study.config import CONSTANT, StudyConfig, learner_config
from rppg.study.key import Job
from rppg.study.parts import Part, open_part
from rppg.study.progress import Progress
from rppg.study.run_trial import ready_estimator
from rppg.study.store import Result, Store
from rppg.train.config import TrainConfig
from rppg.train.run import train
from rppg.types import Recording
from rppg.video.crop import VideoCrops

if sys.platform != "win32":
    import resource

MEASURED = 4
"""Recordings on which an epoch is measured."""
PROBED = 3
"""Videos of a part whose length is looked up, for the size of the crops."""


@dataclass
class Cost:
    """The cost of one method.

    Attributes:
        train_s: seconds of a whole training, by recording trained on.
        test_s: seconds by recording tested on.
        trials: number of stored trials behind it; 0 if it was measured on a few recordings.
        peak_mb: peak memory of the process that measured it; 0 if unknown.
    """

    train_s: float = 0.0
    test_s: float = 0.0
    trials: int = 0
    peak_mb: float = 0.0


@dataclass
class Costs:
    """The costs by method (its label), as far as they are known."""

    known: dict[str, Cost] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, jobs: Iterable[Job]) -> "Costs":
        """Return the costs that were measured, and those of the stored trials, which win."""
        costs = cls(_read(store.folder / "costs.json"))
        for job in jobs:
            result = store.load(job)
            if result is not None:
                costs.add(job, result)
        return costs

    def add(self, job: Job, result: Result) -> None:
        """Add a stored trial."""
        if "failed" in result or not result["timing"].get("tests_s"):
            return
        cost = self.known.get(job.trial.label)
        if cost is None or cost.trials == 0:
            cost = Cost(peak_mb=cost.peak_mb if cost else 0.0)
            self.known[job.trial.label] = cost
        trained, tested = job.recordings
        train_s = max(result["timing"].get("train_s", {}).values(), default=0.0) / max(trained, 1)
        counts = dict(zip(job.tests, tested, strict=True))
        spent = {k: s for k, s in result["timing"]["tests_s"].items() if k in counts}
        test_s = sum(spent.values()) / max(sum(counts[k] for k in spent), 1)
        n = cost.trials
        cost.train_s = (cost.train_s * n + train_s) / (n + 1)
        cost.test_s = (cost.test_s * n + test_s) / (n + 1)
        cost.trials = n + 1

    def seconds(self, job: Job, progress: Progress | None = None) -> float | None:
        """Return how long a trial takes from now on; None if nothing is known of its method.

        Args:
            progress: how far it is. Of a method of unknown cost, what is left of its stage counts.
        """
        cost = self.known.get(job.trial.label)
        if cost is None:
            if progress is None or not progress.seconds_each:
                return None
            return (progress.total - progress.done) * progress.seconds_each
        trained, tested = job.recordings
        train_s, test_s = cost.train_s * trained, cost.test_s * sum(tested)
        if progress is None:
            return train_s + test_s
        if progress.stage == "training":
            return train_s * (1 - progress.share) + test_s
        return test_s * (1 - progress.share)

    def save(self, store: Store) -> None:
        """Keep the costs for the next command."""
        text = json.dumps({label: asdict(cost) for label, cost in self.known.items()}, indent=1)
        write_text(store.folder / "costs.json", text + "\n")


def measure(job: Job, study: StudyConfig) -> Cost:
    """Measure a method: one epoch on a few recordings, and one test.

    Raises:
        InputError: as training and evaluation do.
    """
    trial = job.trial
    train_s = 0.0
    estimator: Estimator | ConstantGuess
    if trial.learned:
        few = open_part(trial.training[0], study)[:MEASURED]
        config = learner_config(study, trial.method, levels=trial.levels)
        one = config.model_copy(update={"epochs": 1})
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.safetensors"
            run: Any = train if isinstance(one, TrainConfig) else train_peer
            result = run(one, out=Path(folder), recordings=few)
            estimator = load_estimator(checkpoint)
        train_s = result.log[-1]["seconds"] * config.epochs / len(few)
    elif trial.method == CONSTANT:
        estimator = constant_guess(75)
    else:
        estimator = ready_estimator(trial)
    protocol = study.evaluation.build()
    tested = open_part(trial.tests[0], study)[:1]
    started_s = time.monotonic()
    evaluate(tested, {trial.label: estimator}, protocol)
    test_s = time.monotonic() - started_s
    return Cost(train_s, test_s, peak_mb=peak_memory_mb())


def peak_memory_mb() -> float:
    """Return the peak memory of this process so far in MB; 0 where the system doesn't say."""
    if sys.platform == "win32":
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def crops_to_store_mb(parts: Iterable[Part], study: StudyConfig) -> float:
    """Return how much disk the crops take that aren't in the cache, in MB, by a few videos' length.

    Synthetic recordings, which are rendered when they are opened, are there already.
    """
    seen: dict[str, list[Recording]] = {}
    for part in parts:
        try:
            seen.setdefault(part.spec, []).extend(open_part(part, study))
        except InputError:
            continue
    return sum(_crops_mb(recordings) for recordings in seen.values())


def _crops_mb(recordings: Iterable[Recording]) -> float:
    by_name = {r.name: r for r in recordings if isinstance(r.load_crops, VideoCrops | CachedCrops)}
    sizes = []
    for recording in list(by_name.values())[:PROBED]:
        crops = recording.load_crops
        if not isinstance(crops, VideoCrops):
            continue
        try:
            info = crops.video.probe()
        except InputError:
            continue
        frames = info.frames or info.duration_s * info.fps
        sizes.append(frames * crops.size**2 * 3 / 1e6)
    return len(by_name) * sum(sizes) / len(sizes) if sizes else 0.0


def _read(path: Path) -> dict[str, Cost]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {label: Cost(**{**cost, "trials": 0}) for label, cost in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
