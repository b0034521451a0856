"""What identifies a trial's result: its settings, its data, and the code that computes it.

The training and each test have keys of their own: a dataset that is added to a study is tested
with the networks that are there, and code of the evaluation that changes trains nothing anew.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradreg
import rppg
from rppg.code_digest import digest_code
from rppg.estimators.find import find_estimator
from rppg.models.checkpoint import digest_of
from rppg.study.config import CONSTANT, UNTRAINED, StudyConfig, learner_config, processes_of
from rppg.study.parts import Part
from rppg.study.plan import Trial
from rppg.study.survey import PartSurvey

EVALUATION = (
    "data/frame_clock.py",
    "data/wave_fault.py",
    "evaluation/left_out.py",
    "evaluation/metrics.py",
    "evaluation/prepared_recording.py",
    "evaluation/run.py",
    "evaluation/waveform.py",
    "signals",
    "study/evaluate_part.py",
    "study/run_trial.py",
)
SYNTHETIC = "synthetic:"
"""How the SPEC of a synthetic domain starts."""
NETWORKS = ("estimators", "models", "verification")
CODE: Mapping[str, tuple[str, ...]] = {
    "data": ("data", "crops", "video", "types.py"),
    "test": EVALUATION,
    "fcus": (*NETWORKS, "signals", "train", "study/train_trial.py"),
    "peer": (*NETWORKS, "signals", "train", "peers", "study/train_trial.py"),
    UNTRAINED: NETWORKS,
    "checkpoint": NETWORKS,
    CONSTANT: EVALUATION,
    "classical": ("methods", "estimators/classical.py", "estimators/find.py"),
}
"""The files and folders of `rppg` that results depend on: the reading of files (`data`), tests, and
the methods by kind. Nothing of the synthetic domains, which aren't read from files, is among them:
a domain has a version of its own."""
NOT_IN_TRAINING = ("diagnostics", "integrations", "testing")
"""Folders of `gradreg` on which no result depends."""


@dataclass(frozen=True)
class Job:
    """A trial with what identifies its results.

    Attributes:
        trial: the trial, with the tests that can be run.
        key: of its training.
        tests: the key of each test, in the order of the trial's.
        recordings: number of recordings in all training parts, and in each test.
        code: digest of all code behind it, to recognise a process that loaded other code.
        identity: what the training's key is a digest of: settings, data, and code by its kind.
        test_identities: the same of each test.
        waves: whether the waves of each recording are to be written.
    """

    trial: Trial
    key: str
    tests: tuple[str, ...]
    recordings: tuple[int, tuple[int, ...]]
    code: str
    identity: Mapping[str, Any]
    test_identities: tuple[Mapping[str, Any], ...]
    waves: bool = False

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.trial.file_name}-{self.key}"


def job_of(trial: Trial, study: StudyConfig, found: Mapping[Part, PartSurvey]) -> Job:
    """Return the trial with its keys.

    Raises:
        InputError: a checkpoint that can't be read.
    """
    parts: dict[str, Any] = {
        "method": trial.method,
        "training": [[part.kind, found[part].digest] for part in trial.training],
        "each_epoch": trial.each_epoch,
        "code": _code(_kind(trial), trial.training),
    }
    if trial.learned:
        config = learner_config(study, trial.method, seed=trial.seed, levels=trial.levels)
        parts["config"] = config.model_dump(mode="json", exclude={"data", "subjects"})
        if (processes := processes_of(trial.method, study)) > 1:  # which round otherwise
            parts["processes"] = processes
    elif trial.method == UNTRAINED:
        parts["seed"] = trial.seed
    elif trial.method != CONSTANT:  # one trial a dataset
        if trial.checkpoint is not None:
            find_estimator(checkpoint=trial.checkpoint)  # refuses what can't be tested
            files = (trial.checkpoint, trial.checkpoint.with_suffix(".json"))
            parts["checkpoint"] = [digest_of(file) for file in files]
        parts["tests"] = [found[part].digest for part in trial.tests]
    protocol = study.evaluation.model_dump(mode="json")
    if trial.method == CONSTANT:  # the mean rate is that of the evaluation's windows
        parts["protocol"] = protocol
    key = digest(parts)
    tests = tuple(
        {"protocol": protocol, "data": found[part].digest, "code": _code("test", [part])}
        for part in trial.tests
    )
    counts = tuple(found[part].recordings for part in trial.tests)
    trained = sum(found[part].recordings for part in trial.training)
    return Job(
        trial=trial,
        key=key,
        tests=tuple(test_key(key, test) for test in tests),
        recordings=(trained, counts),
        code=CODE_DIGEST,
        identity=parts,
        test_identities=tests,
        waves=study.waves and trial.method != CONSTANT,  # a guess has none
    )


def digest_of_code(names: tuple[str, ...], *, with_gradreg: bool) -> str:
    """Return letters that change with code of the packages, but not with its comments."""
    package = Path(rppg.__file__).parent
    digests = [digest_code((package / name for name in names), root=package)]
    if with_gradreg:
        levels = Path(gradreg.__file__).parent
        digests.append(digest_code([levels], root=levels, without=NOT_IN_TRAINING))
    return digest(digests)


def _kind(trial: Trial) -> str:
    if trial.learned:
        return "fcus" if trial.method == "fcus" else "peer"
    if trial.checkpoint is not None:
        return "checkpoint"
    return trial.method if trial.method in (UNTRAINED, CONSTANT) else "classical"


def _code(kind: str, parts: Sequence[Part]) -> dict[str, str]:
    """Return the digests of the code behind a result on parts, by the kind of code."""
    files = not all(part.spec.startswith(SYNTHETIC) for part in parts)
    return {name: CODE_DIGESTS[name] for name in (kind, *(["data"] if files else []))}


def test_key(key: str, identity: Mapping[str, Any]) -> str:
    """Return the key of a trial's test."""
    return digest([key, identity])


def digest(value: Any) -> str:
    """Return letters that identify a JSON value."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


CODE_DIGESTS = {
    kind: digest_of_code(names, with_gradreg=kind in ("fcus", "peer"))
    for kind, names in CODE.items()
}
"""Of the code that this process loaded: files edited later change nothing here."""
CODE_DIGEST = digest(CODE_DIGESTS)
"""Of all of it."""
