"""Renamed names: the old ones work for one version, with a DeprecationWarning."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def renamed(module: str, names: Mapping[str, tuple[str, object]]) -> Callable[[str], object]:
    """Return a `__getattr__` for a module, which finds what had another name before.

    Args:
        module: the module's `__name__`.
        names: old name in this module -> the full new name, and the object.
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_name, found = names[name]
        warn_of_old_name(f"{module}.{name}", new_name)
        return found

    return find


def renamed_keyword(old: str, new: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that accepts the keyword argument `new` under its old name, too."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"{function.__name__}() got both {new} and {old}, its old name")
                warn_of_old_name(f"{function.__name__}({old}=...)", f"{new}=...")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_attribute(old: str, new: str) -> Any:
    """Return a property that reads the attribute `new`, for a class in which it was `old`."""

    def read(self: object) -> Any:
        warn_of_old_name(f"{type(self).__name__}.{old}", new)
        return getattr(self, new)

    return property(read, doc=f"The former name of `{new}`.")


def warn_of_old_name(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that something has another name now; the warning names the caller's line."""
    warnings.warn(
        f"{old} is now {new}; the old name goes in the next version",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
