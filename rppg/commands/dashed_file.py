"""A hint for file names that begin with a dash, which a command line takes for options."""

import re
from collections.abc import Sequence
from pathlib import Path

SUFFIX = re.compile(r"\.[0-9]?[A-Za-z][A-Za-z0-9]*$")
"""Of a file; `--rho=0.5` has none."""


def hint_at_dashed_file(arguments: Sequence[str]) -> str:
    """Return how to name the first file that looks like an option; empty if there is none.

    Args:
        arguments: of a command line that was refused, the command first.
    """
    for argument in arguments[: arguments.index("--")] if "--" in arguments else arguments:
        if not argument.startswith("-") or "=" in argument:
            continue
        if SUFFIX.search(argument) or (len(argument) > 1 and Path(argument).is_file()):
            return f"; if {argument} is a file, write -- before it, or ./{argument}"
    return ""
