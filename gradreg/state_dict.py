"""State dicts of wrapped optimizers: the inner one's, with the levels' states under one key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

STATE_KEY = "gradreg"
"""The one top-level key that the wrappers add to a state dict."""

FORMAT_VERSION = 1
"""Version of what is under that key; a state without a version is of the first one."""


def join(
    inner: Mapping[str, Any], name: str, own: Mapping[str, Any], parameters: list[Tensor]
) -> dict[str, Any]:
    """Return the inner optimizer's state dict with a level's own state in it.

    Args:
        inner: the state dict of the optimizer that the level wraps, itself wrapped or not.
        name: of the level in the state dict.
        own: the level's state.
        parameters: the optimizer's, in order.
    """
    common = {"version": FORMAT_VERSION, "shapes": shapes_of(parameters)}
    return {**inner, STATE_KEY: {**inner.get(STATE_KEY, common), name: own}}


def split(
    state_dict: Mapping[str, Any], name: str, parameters: list[Tensor]
) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, Any] | None]:
    """Undo `join`.

    Returns:
        The bare optimizer's state dict, the states of the other levels, and the level's own; None
        if the state dict has none.

    Raises:
        ValueError: another format, or parameters of other shapes.
    """
    levels = dict(state_dict.get(STATE_KEY, {}))
    check_format(levels.pop("version", 1))
    check_shapes(levels.pop("shapes", None), parameters)
    own = levels.pop(name, None)
    rest = {key: value for key, value in state_dict.items() if key != STATE_KEY}
    if isinstance(rest.get("state"), Mapping):  # an optimizer may keep its state elsewhere
        rest["state"] = merge_by_index(rest["state"])
    return rest, levels, own


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
