"""Where a training run is, in one file: a run that was killed goes on from it to the same bits.

A safetensors file: tensors, and a JSON text that says where in the state each belongs.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rppg.atomic import atomic_path
from rppg.errors import InputError, WriteError

FORMAT = "2"
TEXT = "json"
"""Name of the tensor that holds the text: a safetensors header may not grow with a run's log."""
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class RunState:
    """The file that a run keeps its state in.

    Attributes:
        path: of the file.
        run: what the run depends on, as JSON values: the state of another run is refused.
        resume: whether to go on from the file, where there is one.
        every_s: seconds of training after which the state is saved again.
    """

    path: Path
    run: Mapping[str, Any]
    resume: bool = False
    every_s: float = SAVE_EVERY_S

    def load(self) -> Any:
        """The state to go on from; None where the run begins.

        Raises:
            InputError: the file is damaged, of another format, or of another run.
        """
        if not self.resume or not self.path.exists():
            return None
        run, state = load_state(self.path)
        check_same_run(self.path, run, self.run)
        return state

    def save(self, state: Any) -> None:
        """Put a state in the place of the last one."""
        save_state(self.path, self.run, state)

    def remove(self) -> None:
        """The run is over: nothing is left to resume."""
        self.path.unlink(missing_ok=True)


@contextmanager
def fitting(state: RunState | None) -> Iterator[None]:
    """Around what puts a state in its place.

    Raises:
        InputError: something is missing in it, or doesn't fit the network.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        where = "the state" if state is None else state.path
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{where}: does not fit this run ({reason}); train anew, without --resume"
        ) from error


def save_state(path: Path, run: Mapping[str, Any], state: Any) -> None:
    """Write a state made of mappings, lists, tuples, tensors, numbers, texts, None.

    Raises:
        TypeError: something else is in it.
        InputError: the disk is full, or the folder can't be written to.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"run": dict(run), "state": _packed(state, tensors)})
    tensors[TEXT] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"format": FORMAT})
    except (SafetensorError, WriteError) as error:
        reason = error.reason if isinstance(error, WriteError) else " ".join(str(error).split())
        raise InputError(
            f"{path}: the state of the run can't be kept there ({reason}); make room, or choose "
            "another folder, and go on with --resume"
        ) from error


def load_state(path: Path) -> tuple[dict[str, Any], Any]:
    """What `save_state` wrote: the run and its state.

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
        told = json.loads(tensors[TEXT].numpy().tobytes())
        return dict(told["run"]), _unpacked(told["state"], tensors)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: not the state of a run ({reason}); train anew, without --resume"
        ) from error


def check_same_run(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to go on with another run's state, or to write over its result.

    Raises:
        InputError: naming what differs.
    """
    there, here = _flat(found), _flat(json.loads(json.dumps(wanted)))
    differing = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if differing:
        told = ", ".join(
            f"{key} ({_short(there.get(key))} there, {_short(here.get(key))} here)"
            for key in differing[:3]
        )
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            f"{path}: of another run, which differs in {told}{more}; give the same settings, name "
            "another folder, or train anew, without --resume"
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
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
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a bare list")
        return value
    ((kind, held),) = value.items()
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in held}
    parts = [_unpacked(part, tensors) for part in held]
    return {"list": list, "tuple": tuple}[kind](parts)
