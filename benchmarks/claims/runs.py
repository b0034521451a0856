"""What is run: a learner trained on one domain with a seed, and evaluated on all of them."""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rppg.errors import InputError
from rppg.methods import METHODS
from rppg.peers.config import PUBLISHED, PeerConfig
from rppg.synthetic.domains import DOMAINS
from rppg.train.config import TrainConfig

LEVELS = ("mask", "smooth", "project")
PEERS = ("sinc", "contrast-phys")
PATIENCE = 5
"""Epochs without a better criterion after which a peer counts as flat."""

PEER_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "sinc": {
        "stride_frames": 120,
        "batch_size": 4,
        "lr": 3e-4,
        "precision": "bfloat16",
        "model": {**PUBLISHED["contrast-phys"]["model"], "spatial": 1},
    },
    "contrast-phys": {"lr": 3e-4, "precision": "bfloat16"},
}
"""Where the peers depart from what is published, to their advantage in minutes on a CPU; see
`docs/how-to/train-a-peer.md`."""

STEADY = {"tether": 0.02, "averaged": 0.5}
"""FCUS's settings for several epochs."""

ROOT = Path(__file__).parents[2]
SHARED_CODE = (
    "benchmarks/claims/targets.py",
    "rppg/evaluation/run.py",
    "rppg/signals",
)
CODE = {
    "fcus": (
        "benchmarks/claims/fcus.py",
        "benchmarks/claims/diagnosis.py",
        "gradreg",
        "rppg/estimators",
        "rppg/models",
        "rppg/train",
    ),
    "untrained": ("rppg/models", "rppg/estimators"),
    "peer": ("benchmarks/claims/peer.py", "rppg/estimators", "rppg/models", "rppg/peers"),
    "classical": ("rppg/methods",),
}
"""The code that a kind of learner goes through: files, and folders with all that is in them."""


@dataclass(frozen=True)
class Run:
    """One unit of work; what is not said applies to every learner.

    Attributes:
        learner: `fcus`, `untrained`, one of `PEERS`, or a classical method.
        source: the domain that is trained on; "" for what is not trained.
        seed: of the training.
        epochs: of FCUS. A longer run's first points are a shorter one's.
        subjects: recordings trained on.
        levels: which of FCUS's are on.
        steady: whether FCUS is trained with `STEADY`.
        minutes: of training after which a peer is stopped.
        published: whether a peer is run as published, without what `PEER_SETTINGS` says.
        split: whom to evaluate on.
        test_subjects: how many of them, in each domain.
        curve_subjects: how many of them at those of a peer's points that its criterion does not
            pick, PhysNet being slow.
        targets: the domains to evaluate on.
    """

    learner: str
    source: str = ""
    seed: int = 0
    epochs: int = 1
    subjects: int = 60
    levels: tuple[str, ...] = LEVELS
    steady: bool = False
    minutes: float = 12.0
    published: bool = False
    split: str = "test"
    test_subjects: int = 40
    curve_subjects: int = 10
    targets: tuple[str, ...] = tuple(DOMAINS)

    def __post_init__(self) -> None:
        known = ("fcus", "untrained", *PEERS, *METHODS)
        if self.learner not in known:
            raise InputError(f"no learner {self.learner!r}; choose one of {', '.join(known)}")
        trained = self.kind in ("fcus", "peer")
        for name in (*self.targets, *([self.source] if trained else [])):
            if name not in DOMAINS:
                raise InputError(f"no domain {name!r}; choose one of {', '.join(DOMAINS)}")

    @property
    def kind(self) -> str:
        """Which of the entries of `CODE` it goes through."""
        if self.learner in PEERS:
            return "peer"
        return self.learner if self.learner in CODE else "classical"

    @property
    def title(self) -> str:
        """What it is called while it is under way."""
        parts = [self.learner, self.source]
        if self.kind in ("fcus", "peer"):
            parts.append(f"seed {self.seed}")
        if self.kind == "fcus" and self.levels != LEVELS:
            parts.append("+".join(self.levels) or "no level")
        return " ".join(part for part in parts if part)


def train_config(run: Run) -> TrainConfig:
    """The configuration of an FCUS run."""
    off = {level: None for level in LEVELS if level not in run.levels}
    data = (f"synthetic:{run.source}",)
    given = {"data": data, "subjects": run.subjects, "epochs": run.epochs, "seed": run.seed}
    return TrainConfig.model_validate({**given, **off, **(STEADY if run.steady else {})})


def peer_config(run: Run) -> PeerConfig:
    """The configuration of a peer's run."""
    return PeerConfig.model_validate(
        {
            "method": run.learner,
            "data": (f"synthetic:{run.source}",),
            "subjects": run.subjects,
            "seed": run.seed,
            "patience": PATIENCE,
            **({} if run.published else PEER_SETTINGS[run.learner]),
        }
    )


def key(run: Run) -> str:
    """What identifies a run's result: configuration, domains' versions, and the code it is by.

    Epochs are not in it: FCUS trains at one constant rate, so they only tell how far it goes.
    """
    config: dict[str, Any] = {}
    if run.kind == "fcus":
        config = train_config(run).model_dump(mode="json", exclude={"epochs"})
    elif run.kind == "peer":
        config = {**peer_config(run).model_dump(mode="json"), "minutes": run.minutes}
        config["curve_subjects"] = run.curve_subjects
    elif run.kind == "untrained":
        config = {"seed": run.seed, "model": TrainConfig().model.model_dump(mode="json")}
    parts = {
        "learner": run.learner,
        "config": config,
        "evaluated": [run.split, run.test_subjects, *(DOMAINS[name].key for name in run.targets)],
        "source": DOMAINS[run.source].key if run.kind in ("fcus", "peer") else "",
        "code": LOADED[run.kind],
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def code_digest(*places: str) -> str:
    """Letters that change with the code in files and folders, but not with what is said of it."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    aside = {"diagnostics", "testing", "integrations"}
    texts = [_code(path) for path in found if not aside & set(path.relative_to(ROOT).parts[:-1])]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _code(path: Path) -> str:
    """A module's source without comments, docstrings and other bare constants."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = _statements(node.body)
    return ast.unparse(tree)


def _statements(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    return [
        statement
        for statement in body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]


LOADED = {kind: code_digest(*SHARED_CODE, *places) for kind, places in CODE.items()}
"""The code as it was when this process loaded it: what changes later changes no key here."""


def described(run: Run) -> dict[str, Any]:
    """A run as it stands in its file."""
    return json.loads(json.dumps(asdict(run)))
