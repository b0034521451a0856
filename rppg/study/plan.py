"""The trials of a study. They follow from its configuration alone; no data is opened."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rppg.peers.config import LEVELS
from rppg.study.config import CONSTANT, LEARNERS, UNTRAINED, Dataset, StudyConfig
from rppg.study.parts import Kind, Part
from rppg.study.statistics import settings_of

Levels = tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One method, one training set, one seed: the unit of work.

    Attributes:
        method: a learner, `untrained`, `constant`, a classical method, or a checkpoint's name.
        training: the parts that it is trained on; empty for what isn't trained.
        tests: the parts that it is tested on.
        seed: of the training, or of the untrained network.
        levels: the levels that are on, in an ablation.
        each_epoch: whether it is tested after each epoch.
        checkpoint: the network that is tested, if it was trained elsewhere.
    """

    method: str
    training: tuple[Part, ...]
    tests: tuple[Part, ...]
    seed: int = 0
    levels: Levels | None = None
    each_epoch: bool = False
    checkpoint: Path | None = None

    @property
    def learned(self) -> bool:
        """Whether a network is trained."""
        return self.method in LEARNERS

    @property
    def label(self) -> str:
        """The method's name in tables; with its levels, in an ablation."""
        if self.levels is None:
            return self.method
        return f"{self.method}, {'+'.join(self.levels) or 'no level'}"

    @property
    def trained_on(self) -> str:
        """The names of the datasets trained on."""
        return "+".join(part.dataset for part in self.training)

    @property
    def title(self) -> str:
        """The trial in words."""
        words = [self.label]
        if self.training:
            words.append("on " + " + ".join(part.title for part in self.training))
        elif self.method != UNTRAINED:
            words.append("tested on " + ", ".join(part.title for part in self.tests))
        if self.learned or self.method == UNTRAINED:
            words.append(f"seed {self.seed}")
        return "; ".join(words)

    @property
    def file_name(self) -> str:
        """The start of the names of its files."""
        parts = [self.label, *(part.title for part in self.training), f"seed {self.seed}"]
        text = "-".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") for part in parts)
        return text[:80]

    def to_json(self) -> dict[str, Any]:
        """Return the form in a stored result."""
        path = None if self.checkpoint is None else str(self.checkpoint)
        return {**asdict(self), "checkpoint": path}


def plan_trials(study: StudyConfig) -> list[Trial]:
    """Return all trials of a study, in the order in which they are run."""
    return [
        *(
            Trial(name, (), tuple(_tests_of(study, dataset)), checkpoint=path)
            for name, path in study.checkpoints.items()
            for dataset in study.data
        ),
        *(trial for method in study.methods for trial in _of_method(study, method)),
    ]


def _of_method(study: StudyConfig, method: str) -> Iterator[Trial]:
    if method == CONSTANT:
        for training, tests in _training_sets(study):
            yield Trial(method, training, tests)
    elif method == UNTRAINED:
        for seed in range(study.seeds):
            parts = chain.from_iterable(_tests_of(study, dataset) for dataset in study.data)
            yield Trial(method, (), tuple(parts), seed)
    elif method not in LEARNERS:
        for dataset in study.data:
            yield Trial(method, (), tuple(_tests_of(study, dataset)))
    else:
        for levels in _levels(study):
            for training, tests in _training_sets(study):
                for seed in range(study.seeds):
                    each_epoch = study.protocol == "convergence"
                    yield Trial(method, training, tests, seed, levels, each_epoch)


def _levels(study: StudyConfig) -> list[Levels | None]:
    """Return the settings of the levels that are compared; [None] for the learner's own."""
    if study.protocol != "ablation":
        return [None]
    return list(settings_of(LEVELS))


def _training_sets(study: StudyConfig) -> Iterator[tuple[tuple[Part, ...], tuple[Part, ...]]]:
    """Yield each training set with the parts that it is tested on."""
    if study.protocol == "leave-one-out":
        for dataset in study.data:
            training = [_part(d, "train") for d in study.training_data if d is not dataset]
            if training:
                yield tuple(training), (_part(dataset, "whole"),)
        return
    for dataset in study.training_data:
        others = [other for other in study.data if other is not dataset]
        if study.protocol == "intra":
            for fold in range(1, study.folds + 1):
                yield (_part(dataset, "other folds", fold),), (_part(dataset, "fold", fold),)
        else:
            own = _part(dataset, "test")
            yield (_part(dataset, "train"),), (own, *(_part(d, "whole") for d in others))


def _tests_of(study: StudyConfig, dataset: Dataset) -> Iterator[Part]:
    """Yield what a method without a training is tested on: every part that a learner is."""
    if study.protocol == "intra":
        for fold in range(1, study.folds + 1):
            yield _part(dataset, "fold", fold)
        return
    yield _part(dataset, "whole")
    if study.protocol != "leave-one-out":
        yield _part(dataset, "test")


def _part(dataset: Dataset, kind: Kind, fold: int = 0) -> Part:
    return Part(dataset.name, dataset.spec, kind, fold)
