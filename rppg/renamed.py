"""Renamed names: the old ones work for one version, with a DeprecationWarning."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """Return a `__getattr__` for a module, which finds what had another name or module before.

    Args:
        module: the module's `__name__`.
        names: old name in this module -> new name, `package.module.name` in full.
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(
            f"{module}.{name} is now {names[name]}; the old name goes in the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        new_module, _, new_name = names[name].rpartition(".")
        found: object = getattr(import_module(new_module), new_name)
        return found

    return find
