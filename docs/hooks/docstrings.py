"""Docstrings in the notation that the site's reference reads.

Equations in reStructuredText's `math` become `$...$`, an `Example:` a section of examples, and an
argument's entry for two (`start_s, duration_s: ...`) one entry each.
"""

import re
from collections.abc import Collection
from textwrap import dedent
from typing import Any

from griffe import Extension, Function, Object

BLOCK = re.compile(r"^( *)\.\. math::\n((?:\1 +\S.*\n?|\s*\n(?=\1 +\S))+)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
SHARED = re.compile(r"^( +)(\w+(?:, \w+)+)(: .*\n?(?:\1 +.*\n?)*)", re.MULTILINE)


class Notation(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            arguments = {p.name for p in obj.parameters} if isinstance(obj, Function) else set()
            obj.docstring.value = rewritten(obj.docstring.value, arguments)


def rewritten(docstring: str, arguments: Collection[str] = ()) -> str:
    """The docstring of a function with these arguments, or of anything else."""

    def block(found: re.Match[str]) -> str:
        lines = dedent(found[2]).strip().splitlines()
        return "\n".join(f"{found[1]}{line}" for line in ["$$", *lines, "$$"]) + "\n"

    def entries(found: re.Match[str]) -> str:
        names = found[2].split(", ")
        if not set(names) <= set(arguments):
            return found[0]
        text = found[3].rstrip("\n") + "\n"
        return "".join(f"{found[1]}{name}{text}" for name in names)

    docstring = INLINE.sub(r"$\1$", BLOCK.sub(block, docstring))
    return SHARED.sub(entries, EXAMPLE.sub("Examples:", docstring))
