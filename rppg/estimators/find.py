"""Estimators by name: the networks of checkpoints, and the classical methods."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rppg.errors import InputError
from rppg.estimators.classical import classical
from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.physnet import PeerEstimator
from rppg.methods import METHODS
from rppg.models.checkpoint import Network, load_network
from rppg.models.fcus import FcusNet
from rppg.signals.protocol import Protocol

LEAST_CLIP_S, MOST_CLIP_S = 3.0, 3600.0
"""Limits of the length of a network's clips."""
SKIN = "+skin"
"""Suffix of a classical method that averages only the pixels of the face that are skin."""
TABLE = (
    "fcus",
    "untrained",
    "green",
    "ica",
    "chrom",
    "chrom+skin",
    "pbv",
    "pos",
    "pos+skin",
    "lgi",
    "omit",
)
"""Rows of a table by default: all methods, the strongest classical ones also with the skin mask."""


def find_estimator(
    method: str = "fcus", checkpoint: Path | None = None, *, skin: bool = False
) -> Estimator:
    """Return the estimator of a method.

    Args:
        method: `fcus`, or a classical method: a key of `rppg.methods.METHODS`, perhaps with the
            suffix `+skin`, which means the same as `skin`.
        checkpoint: a trained network, for fcus only; None for the one that ships with the package.
        skin: classical methods average only the pixels of the face that are skin.

    Raises:
        InputError: no such method, or the arguments don't fit together; see also `load_estimator`.
    """
    name = method.removesuffix(SKIN)
    skin = skin or name != method
    if skin and name == "fcus":
        raise InputError("fcus finds the skin itself; leave the skin mask out")
    if name == "fcus":
        return _at_protocol_rate(load_estimator(checkpoint), checkpoint)
    if checkpoint is not None:
        raise InputError(f"method {method!r} takes no checkpoint; leave it out or choose fcus")
    if name not in METHODS:
        raise InputError(f"no method {method!r}; choose one of fcus, {', '.join(METHODS)}")
    return classical(name, skin=skin)


def find_estimators(
    checkpoints: Sequence[Path] | Mapping[str, Path] = (), methods: Sequence[str] = ()
) -> dict[str, Estimator]:
    """Return the estimators of a table, by row name: checkpoints first, then methods.

    Args:
        checkpoints: trained networks, by the names of their rows; those of a list are named by
            their paths.
        methods: `fcus`, `untrained` or classical methods, perhaps with `+skin`. If both lists are
            empty, the rows of `TABLE`.

    Raises:
        InputError: as `find_estimator`, or two rows of one name.
    """
    if not isinstance(checkpoints, Mapping):
        checkpoints = {str(path): path for path in checkpoints}
    choices = ["fcus", "untrained", *METHODS]
    estimators = {name: find_estimator(checkpoint=path) for name, path in checkpoints.items()}
    for name in methods or ([] if checkpoints else TABLE):
        if name.removesuffix(SKIN) not in choices:
            raise InputError(f"no method {name!r}; choose one of {', '.join(choices)}")
        if name in checkpoints:
            raise InputError(f"a checkpoint and a method are both called {name!r}; rename the one")
        estimators[name] = untrained() if name == "untrained" else find_estimator(name)
    return estimators


def label_checkpoints(checkpoints: Sequence[str]) -> dict[str, Path]:
    """Return checkpoints by row name, from `NAME=PATH`, or `PATH` alone, which names itself.

    A path that exists is used as it is, whatever characters it has.

    Raises:
        InputError: an empty name, or one that two checkpoints have.
    """
    labelled: dict[str, Path] = {}
    for text in checkpoints:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = text, text
        if not (name.strip() and path.strip()):
            raise InputError(f"checkpoint {text!r}; give NAME=PATH, or PATH alone")
        if labelled.get(name, Path(path)) != Path(path):
            raise InputError(f"two checkpoints are called {name!r}; give each its own NAME=PATH")
        labelled[name] = Path(path)
    return labelled


def load_estimator(checkpoint: Path | None = None) -> FcusEstimator | PeerEstimator:
    """Return the estimator of a checkpoint; None for the one that ships with the package.

    Raises:
        InputError: as `load_network`, or the provenance has no valid length of a clip.
    """
    net, about = load_network(checkpoint)
    provenance = about["provenance"]
    clip_s = _clip_s(net, provenance, checkpoint)
    if isinstance(net, FcusNet):
        return FcusEstimator(net, clip_s=clip_s, provenance=provenance)
    return PeerEstimator(net, round(clip_s * net.config.fps), provenance=provenance)


def choose_estimator(method: str | None, estimator: Any) -> Estimator:
    """Return the estimator of a method, or the one that was given; the shipped one without both.

    Raises:
        InputError: both are given, or something that is no estimator.
    """
    if isinstance(estimator, str | Path):
        name = str(estimator)
        raise InputError(
            f"estimator={name!r} is a name; give method={name!r}, or "
            f"estimator=find_estimator(checkpoint=Path({name!r})) if it is a checkpoint"
        )
    if estimator is None:
        return load_estimator() if method is None else find_estimator(method)
    if method is not None:
        raise InputError(f"both the method {method!r} and an estimator; give one of them")
    if not callable(estimator):
        raise InputError(
            f"an estimator of type {type(estimator).__name__}; give what find_estimator returns, "
            "or a function of crops and their rate that returns the pulse"
        )
    return estimator


@functools.cache
def reference_estimator() -> FcusEstimator:
    """Return the network that ships with the package, whose traces verify any method's waves."""
    estimator = load_estimator()
    assert isinstance(estimator, FcusEstimator)
    return estimator


def _clip_s(net: Network, provenance: Mapping[str, Any], checkpoint: Path | None) -> float:
    """Return the length in seconds of the clips that a network was trained on."""
    config = provenance.get("config", {})
    config = config if isinstance(config, dict) else {"clip_s": None}
    if isinstance(net, FcusNet):
        clip_s = config.get("clip_s", 10.0)
    else:
        frames = config.get("clip_frames")
        clip_s = frames / net.config.fps if isinstance(frames, int) else None
    if not isinstance(clip_s, int | float) or not LEAST_CLIP_S <= clip_s <= MOST_CLIP_S:
        key = "clip_s in seconds" if isinstance(net, FcusNet) else "clip_frames"
        raise InputError(
            f"{_description_of(checkpoint)}: provenance.config has clips of {clip_s!r} s; expected "
            f"{key}, for {LEAST_CLIP_S:g} to {MOST_CLIP_S:g} s; copy the file again"
        )
    return float(clip_s)


def _at_protocol_rate(
    estimator: FcusEstimator | PeerEstimator, checkpoint: Path | None
) -> FcusEstimator | PeerEstimator:
    """Return the estimator if its network runs at the protocol's frame rate; else raise."""
    net_fps, fps = estimator.net.config.fps, Protocol().fps
    if net_fps != fps:
        raise InputError(
            f"{_description_of(checkpoint)}: a network for {net_fps:g} frames a second, but pulses "
            f"are measured at {fps:g}; train one with model.fps = {fps:g}"
        )
    return estimator


def _description_of(checkpoint: Path | None) -> str:
    return str(checkpoint.with_suffix(".json")) if checkpoint else "the shipped checkpoint"


def with_reference(
    estimator: Estimator, *, full_frame: bool
) -> tuple[Estimator, FcusEstimator | None]:
    """Return an estimator, and the network whose traces verify its waves.

    The network is None if the estimator is one itself. With `full_frame`, both are for frames that
    skin fills.
    """
    if isinstance(estimator, FcusEstimator):
        return estimator.of_skin() if full_frame else estimator, None
    reference = reference_estimator()
    return estimator, reference.of_skin() if full_frame else reference
