"""A trial: a method, the domain it is trained on, a seed, and the domains it is evaluated on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rppg.errors import InputError
from rppg.estimators.find import SKIN
from rppg.peers.config import PUBLISHED, PeerConfig
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.variation import Variation
from rppg.train.config import TrainConfig

LEVELS = ("mask", "smooth", "project")
PEERS = ("sinc", "contrast-phys")
FILTERED_SUFFIX = "+verified"
FILTERED = tuple(name + FILTERED_SUFFIX for name in ("chrom+skin", "pos+skin"))
"""Classical methods whose wave is filtered by verification."""

PATIENCE = 5
"""Epochs without a better criterion after which a peer's training stops."""

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
"""Differences from the published settings, in the peers' favour: with these they converge in
minutes on a CPU. See `docs/how-to/train-a-peer.md`."""

UNTETHERED = {"tether": 0.0}
"""FCUS's settings without what prevents its drift over several epochs."""

CONTAMINATED_PEER: Mapping[str, Any] = {"lr": 1e-3, "batch_size": 4, "clip_frames": 150}
CONTAMINATED_STRIDE = {"contrast-phys": 300, "sinc": 150}
CONTAMINATED_FPS = 15.0
"""Further differences in trials with an arm, of which a study needs dozens: clips of 10 s at half
the frame rate, one (of SiNC two) of each recording in an epoch, and batches that have two clips
left after a mask."""

ARMS: Mapping[str, str] = {
    "none": "no mask",
    "old": "the former mask, by the amplitude of regions and time spans",
    "new": "the mask as it is",
    "oracle": "a mask that keeps the clips of living recordings, and no others",
    "living": "no mask, trained on the living recordings alone: fewer steps",
    "cleaned": "no mask, trained on the recordings whose score says pulse: fewer steps",
}
"""What is done about training recordings without a pulse."""
MASKED = ("old", "new", "oracle")
"""The arms with a mask."""


PEER_ARMS: Mapping[str, str] = {
    "plain": "no level",
    "filter": "no level, trained on the recordings whose score says pulse",
    "mask": "a mask by the same score: the other recordings are seen, and train nothing",
    "oracle": "a mask that keeps the living recordings, and no others",
}
"""The same, of a peer."""
PEER_MASKED = ("mask", "oracle")

LATER = ("arm", "dead", "clips")
"""Attributes that older trials lack, and that are left out where they say nothing."""


@dataclass(frozen=True)
class Trial:
    """One unit of work. Attributes that name no method apply to all.

    Attributes:
        method: `fcus`, one of `PEERS`, which need an arm, or of `FILTERED`.
        source: the domain to train on; "" for a method that isn't trained.
        seed: of the training.
        epochs: of FCUS. A longer trial's first epochs are a shorter one's.
        subjects: number of recordings to train on.
        levels: FCUS's levels that are on.
        untethered: whether FCUS is trained with `UNTETHERED`.
        minutes: training time after which a peer is stopped.
        published: whether a peer is trained as published, without `PEER_SETTINGS`.
        split: whose subjects to evaluate on.
        test_subjects: number of subjects to evaluate on, in each domain.
        curve_subjects: the same, at the epochs of a peer that its criterion doesn't choose:
            PhysNet is slow.
        targets: domains to evaluate on.
        arm: one of `ARMS`, for FCUS trained on a folder that may hold recordings without a pulse;
            one of `PEER_ARMS` for a peer.
        dead: share of the training recordings without a pulse; needs an arm.
        clips: number of clips that a peer with an arm is trained on.
    """

    method: str
    source: str = ""
    seed: int = 0
    epochs: int = 1
    subjects: int = 60
    levels: tuple[str, ...] = LEVELS
    untethered: bool = False
    minutes: float = 12.0
    published: bool = False
    split: str = "test"
    test_subjects: int = 40
    curve_subjects: int = 10
    targets: tuple[str, ...] = tuple(DOMAINS)
    arm: str = ""
    dead: float = 0.0
    clips: int = 650

    def __post_init__(self) -> None:
        methods = ("fcus", *PEERS, *FILTERED)
        if self.method not in methods:
            raise InputError(f"no method {self.method!r}; choose one of {', '.join(methods)}")
        arms = {"fcus": ARMS, **dict.fromkeys(PEERS, PEER_ARMS)}.get(self.method, {})
        if self.arm and self.arm not in arms:
            raise InputError(
                f"{self.method} has no arm {self.arm!r}; fcus has {', '.join(ARMS)}, a peer "
                f"{', '.join(PEER_ARMS)}"
            )
        if self.method in PEERS and not self.arm:
            raise InputError(f"{self.method} without an arm; choose one of {', '.join(PEER_ARMS)}")
        if self.dead and not self.arm:
            raise InputError(
                f"dead={self.dead:g} without an arm; choose one of {', '.join(arms or ARMS)}"
            )
        for name in (*self.targets, *([self.source] if self.trained else [])):
            if name not in DOMAINS:
                raise InputError(f"no domain {name!r}; choose one of {', '.join(DOMAINS)}")

    @property
    def kind(self) -> str:
        """The kind of method: `fcus`, `contaminated` (FCUS with an arm), `contaminated_peer` or
        `filtered`.
        """
        if self.method == "fcus":
            return "contaminated" if self.arm else "fcus"
        return "contaminated_peer" if self.method in PEERS else "filtered"

    @property
    def trained(self) -> bool:
        """Whether the method is trained."""
        return self.method == "fcus" or self.method in PEERS

    @property
    def contamination(self) -> Variation:
        """The options of the recordings to train on."""
        return Variation(dead=self.dead)

    @property
    def title(self) -> str:
        """Its name in progress reports."""
        parts = [self.method, self.source]
        if self.trained:
            parts.append(f"seed {self.seed}")
        if self.arm:
            parts.append(f"dead {self.dead:g} {self.arm}")
        if self.kind == "fcus" and self.levels != LEVELS:
            parts.append("+".join(self.levels) or "no level")
        return " ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Return its attributes as JSON values; `arm` and `dead` only if there is an arm, `clips`
        only of a peer with one.
        """
        values = json.loads(json.dumps(asdict(self)))
        missing = {"contaminated": ("clips",), "contaminated_peer": ()}.get(self.kind, LATER)
        return {k: v for k, v in values.items() if k not in missing}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Trial":
        """Return the trial that `to_json` described."""
        attributes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**attributes)


def train_config(trial: Trial) -> TrainConfig:
    """Return the training configuration of an FCUS trial."""
    off = {level: None for level in LEVELS if level not in trial.levels}
    if trial.arm and trial.arm not in MASKED:
        off["mask"] = None
    options = trial.contamination.text
    settings = {
        "data": (f"synthetic:{trial.source}{f'?{options}' if options else ''}",),
        "subjects": trial.subjects,
        "epochs": trial.epochs,
        "seed": trial.seed,
    }
    untethered = UNTETHERED if trial.untethered else {}
    return TrainConfig.model_validate({**settings, **off, **untethered})


def peer_config(trial: Trial) -> PeerConfig:
    """Return the training configuration of a peer's trial.

    The number of epochs follows from the trial's clips.
    """
    options = trial.contamination.text
    settings: dict[str, Any] = {
        "method": trial.method,
        "data": (f"synthetic:{trial.source}{f'?{options}' if options else ''}",),
        "subjects": trial.subjects,
        "seed": trial.seed,
        **({} if trial.published else PEER_SETTINGS[trial.method]),
        **CONTAMINATED_PEER,
        "stride_frames": CONTAMINATED_STRIDE[trial.method],
    }
    settings["model"] = {**settings.get("model", {}), "fps": CONTAMINATED_FPS}
    settings |= {"mask": {}} if trial.arm in PEER_MASKED else {}
    return PeerConfig.model_validate(settings)


def method_label(method: str) -> str:
    """Return a classical method's name in tables: `POS`, `POS, skin mask, verified`."""
    if method.endswith(FILTERED_SUFFIX):
        return method_label(method.removesuffix(FILTERED_SUFFIX)) + ", verified"
    name = method.removesuffix(SKIN).upper()
    return f"{name}, skin mask" if method.endswith(SKIN) else name
