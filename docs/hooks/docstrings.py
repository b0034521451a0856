"""Docstrings in the notation that the site's reference parses.

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
    """An extension that rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            arguments = {p.name for p in obj.parameters} if isinstance(obj, Function) else set()
            obj.docstring.value = rewrite(obj.docstring.value, arguments)


def rewrite(docstring: str, arguments: Collection[str] = ()) -> str:
    """Return the docstring in the parser's notation.

    Args:
        arguments: names of the function's arguments; none for anything else.
    """

    def block(match: re.Match[str]) -> str:
        lines = dedent(match[2]).strip().splitlines()
        return "\n".join(f"{match[1]}{line}" for line in ["$$", *lines, "$$"]) + "\n"

    def entries(match: re.Match[str]) -> str:
        names = match[2].split(", ")
        if not set(names) <= set(arguments):
            return match[0]
        text = match[3].rstrip("\n") + "\n"
        return "".join(f"{match[1]}{name}{text}" for name in names)

    docstring = INLINE.sub(r"$\1$", BLOCK.sub(block, docstring))
    return SHARED.sub(entries, EXAMPLE.sub("Examples:", docstring))
