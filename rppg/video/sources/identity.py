"""The identity of functions that read files, for descriptions of how files become frames."""

from collections.abc import Callable
from functools import partial
from pathlib import Path


def describe_function(function: Callable[..., object]) -> str:
    """Return a function's full name, with the arguments of a partial function except paths."""
    if not isinstance(function, partial):
        return f"{function.__module__}.{function.__qualname__}"
    arguments = [repr(value) for value in function.args if not isinstance(value, Path)]
    arguments += [f"{name}={value!r}" for name, value in sorted(function.keywords.items())]
    return f"{describe_function(function.func)}({', '.join(arguments)})"
