"""The format of what the wrappers add to an optimizer's state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

STATE_KEY = "gradreg"
"""The one top-level key that the wrappers add to a state dict."""

FORMAT_VERSION = 1
"""Version of what is under that key; a state without a version is of the first one."""


def merge_by_index(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Undo what distributed checkpointing does to an optimizer's state.

    It loads tensors in place under the parameter's index, other values under that as a string.
    """
    merged: dict[Any, Any] = {}
    for key, value in state.items():
        index = int(key) if isinstance(key, str) and key.isdigit() else key
        merged[index] = {**merged.get(index, {}), **value} if isinstance(value, dict) else value
    return merged


def shapes_of(parameters: list[Tensor]) -> list[list[int]]:
    """Return the shape of each parameter; `[]` for one that is still lazy."""
    return [[] if is_lazy(p) else list(p.shape) for p in parameters]


def check_format(version: Any) -> None:
    """Raise a ValueError unless the version is ours."""
    if version != FORMAT_VERSION:
        raise ValueError(
            f"the state dict's {STATE_KEY!r} entry is of format {version!r}, expected "
            f"{FORMAT_VERSION}: load it with the version of gradreg that saved it"
        )


def check_shapes(saved: list[list[int]] | None, parameters: list[Tensor]) -> None:
    """Raise a ValueError if a parameter had another shape when the state was saved.

    A wrong number of parameters is reported by torch.
    """
    for i, (before, now) in enumerate(zip(saved or [], shapes_of(parameters), strict=False)):
        if list(before) != now:
            raise ValueError(
                f"the state dict was saved for another model: its parameter {i} has shape "
                f"{tuple(before)}, the optimizer's {tuple(now)}: build model and param groups as "
                "they were when it was saved"
            )
