"""Checkpoints: weights as safetensors, and beside them how they were made as JSON.

`NAME.safetensors` holds the weights, `NAME.json` the format version, which network it is and its
configuration, the digest of the weights, and whatever the trainer says of itself. Neither can
execute code.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.physnet import PhysNet, PhysNetConfig

FORMAT = 2
"""1: signatures were weights, and nothing told the head's motion."""

MOST_BYTES = 2**30
"""Of a network, with its tables: ten thousand times what ours take."""

SHIPPED = Path(str(resources.files("rppg") / "checkpoints" / "fcus.safetensors"))

Network = FcusNet | PhysNet

NETWORKS: Mapping[str, Callable[[Any], Network]] = {
    "fcus": lambda model: FcusNet(ModelConfig.model_validate(model)),
    "physnet": lambda model: PhysNet(PhysNetConfig.model_validate(model)),
}
"""How to build each network that a checkpoint can name, from its configuration."""


def save_checkpoint(path: Path, net: Network, made: Mapping[str, Any]) -> None:
    """Write `path` (ending in `.safetensors`) and its `.json`.

    Args:
        made: how the network was trained; JSON values.
    """
    weights = {name: value.detach().contiguous() for name, value in net.state_dict().items()}
    if bad := _not_finite(weights):
        raise InputError(f"{path}: not saved, the weights {bad} are not finite")
    content = save(weights)
    about = {
        "format": FORMAT,
        "network": "physnet" if isinstance(net, PhysNet) else "fcus",
        "model": net.config.model_dump(mode="json"),
        "weights": hashlib.sha256(content).hexdigest(),
        "made": dict(made),
    }
    text = json.dumps(about, indent=2) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_checkpoint(path: Path | None = None) -> tuple[FcusNet, dict[str, Any]]:
    """As `load_network`, of FCUS-rPPG alone.

    Raises:
        InputError: as `load_network` does, or when it is another network's checkpoint.
    """
    net, about = load_network(path)
    if not isinstance(net, FcusNet):
        raise InputError(f"{path}: a checkpoint of {about['network']}; give one of fcus")
    return net, about


def load_network(path: Path | None = None) -> tuple[Network, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and what its JSON tells.

    Args:
        path: the `.safetensors` file; None for the checkpoint that ships with the package.

    Raises:
        InputError: when a file is missing, damaged, or of another format or network.
    """
    path = path or SHIPPED
    sidecar = path.with_suffix(".json")
    for file in (path, sidecar):
        if not file.is_file():
            found = "is a folder" if file.is_dir() else "no such file"
            raise InputError(
                f"{file}: {found}; a checkpoint is NAME.safetensors with NAME.json beside it"
            )
    try:
        about = json.loads(sidecar.read_text(encoding="utf-8"))
        found = about["format"]
        if found != FORMAT:
            raise InputError(
                f"{sidecar}: format {found}, this version reads {FORMAT}; train it anew"
            )
        if not isinstance(about["made"], dict):
            raise TypeError(f"'made' is {about['made']!r}, expected an object")
        name = about["network"]
        if name not in NETWORKS:
            raise InputError(
                f"{sidecar}: a network {name!r}; this version knows {', '.join(NETWORKS)}"
            )
        with torch.device("meta"):  # takes no memory, whatever the description claims
            claimed = NETWORKS[name](about["model"])
        size = sum(t.nbytes for t in (*claimed.parameters(), *claimed.buffers()))
        if size > MOST_BYTES:
            raise ValueError(f"a network of {size / 2**30:.1f} GiB")
        net = NETWORKS[name](about["model"])
    except InputError:
        raise
    except (ArithmeticError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{sidecar}: not a checkpoint's description ({reason})") from error
    try:
        weights = load_file(path)
        net.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: the weights do not fit the network ({reason})") from error
    if bad := _not_finite(weights):
        raise InputError(f"{path}: the weights {bad} are not finite; train it anew")
    if about.get("weights", digest := digest_of(path)) != digest:
        raise InputError(
            f"{path}: not the weights that {sidecar.name} was written for; copy both again, or go "
            "on with --resume if training was killed between the two"
        )
    return net.eval(), about


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_finite(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(name for name, value in weights.items() if not value.isfinite().all())
