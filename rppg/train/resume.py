"""The state of a training run in one file, from which a killed run resumes to the same bits.

A safetensors file: tensors, and a JSON text that says where in the state each belongs.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rppg.atomic import atomic_path
from rppg.errors import InputError, WriteError, one_line
from rppg.models.checkpoint import digest_of, load_network

STATE_FILE = "resume.safetensors"
FORMAT = "2"
TEXT = "json"
"""Name of the tensor that holds the text: a safetensors header may not grow with a run's log."""
SAVE_EVERY_S = 60.0
FORMER_NAMES = {"method": "recipe"}
"""Names of settings, and what they were called in states and checkpoints of version 0.1."""


@dataclass(frozen=True)
class RunState:
    """The file that holds the state of a run.

    Attributes:
        path: the file.
        run: the settings and data of the run, as JSON values: the state of another run is refused.
        resume: whether to resume from the file, if it exists.
        every_s: seconds of training after which the state is saved again.
    """

    path: Path
    run: Mapping[str, Any]
    resume: bool = False
    every_s: float = SAVE_EVERY_S

    def load(self) -> Any:
        """Return the state to resume from; None for a new run.

        Raises:
            InputError: the file is damaged, of another format, or of another run.
        """
        if not self.resume or not self.path.exists():
            return None
        run, state = load_state(self.path)
        check_same_run(self.path, run, self.run)
        return state

    def save(self, state: Any) -> None:
        """Replace the saved state."""
        save_state(self.path, self.run, state)


def settings_of(method: str, config: BaseModel, start: Path | None = None) -> dict[str, Any]:
    """Return all that the result of a run depends on, except for its data, as JSON values.

    Args:
        start: the checkpoint that the run starts from.
    """
    settings = {"method": method, "config": config.model_dump(mode="json")}
    return settings if start is None else {**settings, "start": digest_of(start)}


def digest_of_run(settings: Mapping[str, Any]) -> str:
    """Return the digest of a run's settings, by which its checkpoint names it."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def is_finished(out: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether a run into `out` has finished, so that there is nothing to resume.

    Raises:
        InputError: `out` holds the checkpoint of another run, which would be overwritten.
    """
    checkpoint = out / "checkpoint.safetensors"
    if (out / STATE_FILE).exists() or not checkpoint.with_suffix(".json").exists():
        return False
    _, description = load_network(checkpoint)
    digests = [digest_of_run(s) for s in (settings, _renamed(settings, FORMER_NAMES))]
    if description["provenance"].get("run") in digests:
        return True
    raise InputError(
        f"{checkpoint}: of another run than the one to resume (its settings differ); give the same "
        "settings, name another folder, or train anew, without --resume"
    )


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Refuse the state in `path` where restoring it, inside, fails.

    Raises:
        InputError: a part is missing, or doesn't fit the network.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{path}: does not fit this run ({one_line(error)}); train anew, without --resume"
        ) from error


def save_state(path: Path, run: Mapping[str, Any], state: Any) -> None:
    """Write a state made of mappings, lists, tuples, tensors, numbers, texts, None.

    Raises:
        TypeError: the state holds a value of another type.
        InputError: the disk is full, or the folder can't be written to.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"run": dict(run), "state": _packed(state, tensors)})
    tensors[TEXT] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    content = save(tensors, {"format": FORMAT})
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except WriteError as error:
        raise InputError(
            f"{path}: the state of the run can't be saved there ({error.reason}); make room, or "
            "choose another folder, and continue with --resume"
        ) from error


def load_state(path: Path) -> tuple[dict[str, Any], Any]:
    """Return the run and its state from a file that `save_state` wrote.

    Raises:
        InputError: the file is damaged, or of another format.
    """
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("format")
            if found != FORMAT:
                raise InputError(
                    f"{path}: format {found}, this version resumes {FORMAT}; train anew, without "
                    "--resume"
                )
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        document = json.loads(tensors[TEXT].numpy().tobytes())
        return dict(document["run"]), _unpacked(document["state"], tensors)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not the state of a run ({one_line(error)}); train anew, without --resume"
        ) from error


def check_same_run(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to resume from the state of another run.

    Raises:
        InputError: naming what differs.
    """
    current_names = {former: name for name, former in FORMER_NAMES.items()}
    there = _flat(_renamed(found, current_names))
    here = _flat(json.loads(json.dumps(wanted)))
    differing = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if differing:
        listed = ", ".join(
            f"{key} ({_short(there.get(key))} there, {_short(here.get(key))} here)"
            for key in differing[:3]
        )
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            f"{path}: of another run, which differs in {listed}{more}; give the same settings, "
            "name another folder, or train anew, without --resume"
        )


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return settings with some of their keys renamed, at any depth."""
    return {
        names.get(key, key): _renamed(value, names) if isinstance(value, Mapping) else value
        for key, value in settings.items()
    }


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries by their dotted names."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: value
        for key, part in tree.items()
        for name, value in _flat(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a state as JSON values, its tensors moved to `tensors` and replaced by their names."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a state can't hold a {type(value).__name__}")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `_packed`."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a bare list")
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content}
    parts = [_unpacked(part, tensors) for part in content]
    return {"list": list, "tuple": tuple}[kind](parts)
