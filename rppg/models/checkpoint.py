"""Checkpoints: weights as safetensors, and beside them a description as JSON.

`NAME.safetensors` holds the weights; `NAME.json` the format version, the network and its
configuration, the digest of the weights, and their provenance: configuration, data and versions of
the training. Neither can execute code.
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

from rppg.atomic import atomic_path, write_text
from rppg.errors import InputError, one_line
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.physnet import PhysNet, PhysNetConfig
from rppg.renamed import warn_of_old_name

FORMAT = 5
"""4: FCUS-rPPG had no candidates from the covariance of the whole face. 3: it chose its candidates
by their concentration. 2: the provenance was called `made`.
1, which can't be read: signatures were weights, and the network had no estimate of the head's
motion."""

CHOICE = ("log_sharpness", "loudness")
"""FCUS-rPPG's weights that mean something else since format 5."""

MOST_BYTES = 2**30
"""Size of a network that is refused, with its tables: ten thousand times that of ours."""

SHIPPED = Path(str(resources.files("rppg") / "checkpoints" / "fcus.safetensors"))

Network = FcusNet | PhysNet

NETWORKS: Mapping[str, Callable[[Any], Network]] = {
    "fcus": lambda model: FcusNet(ModelConfig.model_validate(model)),
    "physnet": lambda model: PhysNet(PhysNetConfig.model_validate(model)),
}
"""Functions that build a network from its configuration, by the name in a checkpoint."""

BOUNDED = ("fcus",)
"""Networks that the limits of their configuration keep below `MOST_BYTES`. To count the bytes of
the others costs seconds: on `meta`, some operations of torch import its compiler."""


class Description(dict[str, Any]):
    """A checkpoint's JSON. The provenance can still be read by its former name, `made`."""

    def __missing__(self, key: str) -> Any:
        if key != "made" or "provenance" not in self:
            raise KeyError(key)
        warn_of_old_name('a checkpoint\'s "made"', '"provenance"')
        return self["provenance"]


def save_checkpoint(path: Path, net: Network, provenance: Mapping[str, Any]) -> None:
    """Write `path` (ending in `.safetensors`) and its `.json`.

    Args:
        provenance: configuration, data and versions of the training; JSON values.

    Raises:
        InputError: weights that are not finite, or a path that can't be written to.
    """
    weights = {name: value.detach().contiguous() for name, value in net.state_dict().items()}
    if bad := _not_finite(weights):
        raise InputError(f"{path}: not saved, the weights {bad} are not finite")
    content = save(weights)
    description = {
        "format": FORMAT,
        "network": "physnet" if isinstance(net, PhysNet) else "fcus",
        "model": net.config.model_dump(mode="json"),
        "weights": hashlib.sha256(content).hexdigest(),
        "provenance": dict(provenance),
    }
    text = json.dumps(description, indent=2) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    write_text(path.with_suffix(".json"), text)


def load_checkpoint(path: Path | None = None) -> tuple[FcusNet, Description]:
    """Load a checkpoint of FCUS-rPPG; as `load_network`, which loads those of any network.

    Raises:
        InputError: as `load_network` does, or if it is another network's checkpoint.
    """
    net, description = load_network(path)
    if not isinstance(net, FcusNet):
        raise InputError(f"{path}: a checkpoint of {description['network']}; give one of fcus")
    return net, description


def load_network(path: Path | None = None) -> tuple[Network, Description]:
    """Return the network of a checkpoint, in evaluation mode, and its description.

    Args:
        path: the `.safetensors` file; None for the checkpoint that ships with the package.

    Raises:
        InputError: a file is missing, damaged, or of another format or network.
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
        description = _current_format(json.loads(sidecar.read_text(encoding="utf-8")), sidecar)
        net = _build(description, sidecar)
    except InputError:
        raise
    except (ArithmeticError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = one_line(error, 200)
        raise InputError(f"{sidecar}: not a checkpoint's description ({reason})") from error
    _load_weights(net, path, description["format"])
    if description.get("weights", digest := digest_of(path)) != digest:
        raise InputError(
            f"{path}: not the weights that {sidecar.name} was written for; copy both again, or "
            "continue with --resume if training was killed between the two"
        )
    return net.eval(), description


def _current_format(description: dict[str, Any], sidecar: Path) -> Description:
    """Return a description in this version's format.

    Raises:
        InputError: it is of a format that can't be read.
    """
    found = description["format"]
    if found not in (2, 3, 4, FORMAT):
        raise InputError(
            f"{sidecar}: format {found}, this version reads 2 to {FORMAT}; train it anew"
        )
    name = "made" if found == 2 else "provenance"
    if not isinstance(description[name], dict):
        raise TypeError(f"{name!r} is {description[name]!r}, expected an object")
    return Description({"provenance" if k == name else k: v for k, v in description.items()})


def _build(description: Mapping[str, Any], sidecar: Path) -> Network:
    """Return a new network of the kind and configuration that a description names.

    Raises:
        InputError: an unknown network.
        ValueError: a network too large for memory.
    """
    name = description["network"]
    if name not in NETWORKS:
        raise InputError(f"{sidecar}: a network {name!r}; this version knows {', '.join(NETWORKS)}")
    if name not in BOUNDED:
        _check_size(name, description["model"])
    return NETWORKS[name](description["model"])


def _check_size(name: str, model: Any) -> None:
    """Raise a ValueError if the network of a configuration is too large for memory."""
    with torch.device("meta"):  # takes no memory, whatever the description says
        claimed = NETWORKS[name](model)
    size = sum(t.nbytes for t in (*claimed.parameters(), *claimed.buffers()))
    if size > MOST_BYTES:
        raise ValueError(f"a network of {size / 2**30:.1f} GiB")


def _load_weights(net: Network, path: Path, written_format: int) -> None:
    """Load a file's weights into a network; the choice of an older FCUS-rPPG starts anew.

    Raises:
        InputError: the weights don't fit, or are not finite.
    """
    try:
        weights = load_file(path)
        if isinstance(net, FcusNet) and written_format < 5:
            fresh = net.state_dict()
            weights |= {name: fresh[name] for name in CHOICE if name in weights}
        net.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = one_line(error, 200)
        raise InputError(f"{path}: the weights do not fit the network ({reason})") from error
    if bad := _not_finite(weights):
        raise InputError(f"{path}: the weights {bad} are not finite; train it anew")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_finite(weights: Mapping[str, Tensor]) -> str:
    """Return the names of the weights that hold NaN or infinity, joined by commas."""
    return ", ".join(name for name, value in weights.items() if not value.isfinite().all())
