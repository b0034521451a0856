"""The configuration of a study: data, methods, seeds, protocol. One TOML file says all of it."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_serializer, field_validator, model_validator

from rppg.data.specs import parse_spec
from rppg.errors import InputError
from rppg.estimators.find import SKIN
from rppg.frozen_config import FrozenConfig
from rppg.methods import METHODS
from rppg.peers.config import LEVELS, PUBLISHED, PeerConfig
from rppg.signals.protocol import TOOLBOX, HeartRateSource, Protocol
from rppg.study.toml_text import toml_text
from rppg.train.config import TrainConfig

LEARNERS = ("fcus", *PUBLISHED)
"""Methods that are trained."""
UNTRAINED, CONSTANT = "untrained", "constant"
"""FCUS-rPPG's network before its first step; the mean heart rate of the training set."""
KNOWN = (*LEARNERS, UNTRAINED, CONSTANT, *METHODS)
"""All methods, but for the classical ones with the skin mask."""
OF_THE_STUDY = ("data", "seed", "subjects", "method")
"""Fields of a learner's configuration that the study sets."""

StudyProtocol = Literal["cross", "leave-one-out", "intra", "convergence", "ablation"]
LearnerConfig = TrainConfig | PeerConfig


class Dataset(FrozenConfig):
    """A dataset of the study, and its name in the tables."""

    name: str = Field(min_length=1)
    spec: str


class EvaluationConfig(FrozenConfig):
    """How a prediction is compared with the ground truth."""

    protocol: Literal["default", "toolbox"] = "default"
    continuity: bool = False
    window_s: float | None = Field(
        None, gt=0, description="length of a window; by default the protocol's"
    )
    hr: HeartRateSource = "spectrum"

    def build(self) -> Protocol:
        """Return the protocol of the evaluation, which keeps no example waves.

        Raises:
            InputError: a window too short for the band, or continuity with the toolbox's protocol,
                or with heart rates from peaks.
        """
        base = TOOLBOX if self.protocol == "toolbox" else Protocol()
        window_s = self.window_s or base.window_s
        stride_s = self.window_s or base.stride_s
        return replace(
            base,
            continuity=self.continuity,
            window_s=window_s,
            stride_s=stride_s,
            hr=self.hr,
            examples=0,
        )


class StudyConfig(FrozenConfig):
    """A study: which methods are trained on which data, and tested on which.

    Attributes:
        protocol: `cross` trains on one dataset and tests on all; `leave-one-out` trains on all but
            one and tests on that one; `intra` trains and tests within each dataset, by folds of its
            subjects; `convergence` is `cross` after each epoch; `ablation` is `cross` with each of
            the 2³ settings of the three levels.
        methods: by default a few; none if there are checkpoints.
        checkpoints: networks that were trained elsewhere, by the names of their rows.
        train_on: names of the datasets that are trained on; all of them if None.
        settings: fields of each learner's configuration that differ from its defaults. A level is
            switched on or off by true or false.

    Example:
        >>> study = StudyConfig(data=["synthetic:lab", "cam=synthetic:webcam"], methods=["pos"])
        >>> [dataset.name for dataset in study.data]
        ['lab', 'cam']
    """

    protocol: StudyProtocol = "cross"
    methods: tuple[str, ...] = ("fcus", "pos", "pos+skin", CONSTANT, UNTRAINED)
    checkpoints: Mapping[str, Path] = {}
    seeds: int = Field(3, ge=1, description="number of seeds of everything that is random")
    folds: int = Field(5, ge=2, description="of the protocol intra")
    subjects: int = Field(60, ge=2, description="people trained on per synthetic domain")
    test_subjects: int = Field(40, ge=1, description="people tested on per synthetic domain")
    processes_per_trial: int = Field(
        1, ge=1, description="processes that train one network together; FCUS-rPPG's only"
    )
    waves: bool = Field(False, description="whether each recording's waves are written")
    test_split: Literal["test", "validation"] = Field(
        "test", description="split tested on, of synthetic domains and of training datasets"
    )
    train_on: tuple[str, ...] | None = Field(None, min_length=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    settings: Mapping[str, Mapping[str, Any]] = {}
    data: tuple[Dataset, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _checkpoints_alone(cls, fields: Any) -> Any:
        """Choose no methods by default where there are checkpoints, as `rppg evaluate` does."""
        if isinstance(fields, Mapping) and fields.get("checkpoints"):
            return {"methods": (), **fields}
        return fields

    @field_validator("data", mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """Accept NAME=SPEC, SPEC, or a table from names to SPECs."""
        if isinstance(data, Mapping):
            return [{"name": name, "spec": spec} for name, spec in data.items()]
        if isinstance(data, list | tuple) and all(isinstance(item, str) for item in data):
            return [named_dataset(item) for item in data]
        return data

    @field_serializer("data")
    def _as_table(self, data: tuple[Dataset, ...]) -> dict[str, str]:
        return {dataset.name: dataset.spec for dataset in data}

    @model_validator(mode="after")
    def _consistent(self) -> "StudyConfig":
        _refuse_repeated("dataset", (dataset.name for dataset in self.data), "; give NAME=SPEC")
        _refuse_repeated("method", self.methods, "")
        for method in self.methods:
            check_method(method)
        for name in self.checkpoints:
            _check_checkpoint_name(name)
        if not (self.methods or self.checkpoints):
            raise InputError("no methods and no checkpoints; name one")
        for method in self.settings:
            if method not in LEARNERS:
                raise InputError(
                    f"settings of {method!r}, which isn't trained; expected {', '.join(LEARNERS)}"
                )
            try:
                learner_config(self, method)
            except ValidationError as error:  # on several lines otherwise
                problem = error.errors()[0]
                location = ".".join(map(str, ("settings", method, *problem["loc"])))
                raise InputError(f"{location}: {problem['msg']}") from error
        names = [dataset.name for dataset in self.data]
        if unknown := [name for name in self.train_on or () if name not in names]:
            raise InputError(f"train_on: no dataset {unknown[0]!r}; there are {', '.join(names)}")
        if self.protocol == "leave-one-out" and len(self.data) < 2:
            raise InputError("leave-one-out with one dataset; give two or more")
        self.evaluation.build()
        return self

    @property
    def learners(self) -> tuple[str, ...]:
        """The methods that are trained."""
        return tuple(method for method in self.methods if method in LEARNERS)

    @property
    def training_data(self) -> tuple[Dataset, ...]:
        """The datasets that are trained on."""
        if self.train_on is None:
            return self.data
        return tuple(dataset for dataset in self.data if dataset.name in self.train_on)

    def to_toml(self) -> str:
        """Return the study as a TOML file that `read_study` reads."""
        return toml_text(self.model_dump(mode="json"))


def learner_config(
    study: StudyConfig,
    method: str,
    *,
    data: tuple[str, ...] = (),
    seed: int = 0,
    levels: tuple[str, ...] | None = None,
) -> LearnerConfig:
    """Return the configuration of a learner's training.

    Args:
        study: the study, whose `settings` are applied.
        method: one of `LEARNERS`.
        data: SPECs of the training set.
        seed: of the training.
        levels: the levels that are on; None: as the settings say.

    Raises:
        InputError: a setting that the study sets itself.
        ValidationError: an unknown or wrong setting.
    """
    fields: dict[str, Any] = dict(study.settings.get(method, {}))
    if own := [name for name in OF_THE_STUDY if name in fields]:
        raise InputError(f"settings.{method}.{own[0]}: said by the study itself; leave it out")
    for level in LEVELS:
        if levels is not None:
            fields[level] = _section(fields.get(level)) if level in levels else None
        elif isinstance(fields.get(level), bool):
            fields[level] = {} if fields[level] else None
    fields |= {"data": data, "seed": seed, "subjects": study.subjects}
    if method == "fcus":
        return TrainConfig.model_validate(fields)
    return PeerConfig.model_validate({**fields, "method": method})


def processes_of(method: str, study: StudyConfig) -> int:
    """Return the number of processes that train a method's network; peers train in one."""
    return study.processes_per_trial if method == "fcus" else 1


def check_method(method: str) -> None:
    """Refuse a name that is no method of a study.

    Raises:
        InputError: naming those that exist.
    """
    if not _is_method(method):
        raise InputError(
            f"no method {method!r}; choose from {', '.join(KNOWN)}; a classical one may end in "
            f"{SKIN}"
        )


def _is_method(name: str) -> bool:
    return name in KNOWN or (name.endswith(SKIN) and name.removesuffix(SKIN) in METHODS)


def _check_checkpoint_name(name: str) -> None:
    if not name.strip():
        raise InputError("a checkpoint without a name; give NAME=PATH")
    if _is_method(name):
        raise InputError(f"a checkpoint is called {name!r}, as a method is; give it another name")


def named_dataset(text: str) -> dict[str, str]:
    """Split NAME=SPEC. Without a name, a dataset has that of its layout, domain, or file.

    Raises:
        InputError: as `parse_spec`, if the name must be found.
    """
    found = re.fullmatch(r"([^=:?/\\]+)=(.+)", text)
    if found and not Path(text).exists():
        return {"name": found[1].strip(), "spec": found[2]}
    spec = parse_spec(text)
    name = {
        "synthetic": spec.location,
        "folder": Path(spec.location).name,
        "manifest": Path(spec.location).stem,
    }.get(spec.dataset, spec.dataset)
    return {"name": name or spec.dataset, "spec": text}


def read_study(path: Path | None, options: Mapping[str, Any]) -> StudyConfig:
    """Return the study of a TOML file; options that aren't None win.

    Args:
        options: fields of the study. Those of `evaluation` win one by one.

    Raises:
        InputError: the file can't be read, or a field is wrong.
    """
    fields: dict[str, Any] = {}
    if path is not None:
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not a readable TOML file ({error})") from error
    evaluation = fields.get("evaluation", {})
    fields |= {name: value for name, value in options.items() if value is not None}
    if isinstance(evaluation, Mapping):
        fields["evaluation"] = {**evaluation, **options.get("evaluation", {})}
    where = path or "options"
    if not fields.get("data"):
        raise InputError(f"{where}: no data; give --data SPEC, or a table [data] in the file")
    try:
        return StudyConfig.model_validate(fields)
    except ValidationError as error:
        problem, *more = error.errors()
        location = ".".join(map(str, problem["loc"]))
        rest = f"; and {len(more)} more" if more else ""
        message = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {location}{': ' if location else ''}{message}{rest}") from error


def _section(value: Any) -> Any:
    return {} if value is None or isinstance(value, bool) else value


def _refuse_repeated(what: str, names: Iterable[str], hint: str) -> None:
    listed = list(names)
    if repeated := [name for name in dict.fromkeys(listed) if listed.count(name) > 1]:
        raise InputError(f"{what} {repeated[0]!r} appears twice{hint}")
