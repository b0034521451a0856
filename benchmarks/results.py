"""Results of benchmark programs: JSON files, Markdown tables, and tables within pages."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rppg import atomic

RESULTS = Path("docs/results")


def arguments(doc: str, name: str) -> argparse.ArgumentParser:
    """Return the command line of a program whose result is `docs/results/NAME.json`.

    Args:
        doc: the program's docstring; its first line is the description.
        name: the program's, without `benchmarks.`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="JSON to write")
    return parser


def write_json(path: Path, value: Any, *, allow_nan: bool = True) -> None:
    """Write a value as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=1, allow_nan=allow_nan, ensure_ascii=False)
    atomic.write_text(path, text + "\n")


def saved_part(path: Path, part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a results file that was written with the same settings; otherwise {}."""
    if not path.exists():
        return {}
    saved = json.loads(path.read_text(encoding="utf-8"))
    return dict(saved.get(part, {})) if saved["settings"] == settings else {}


def markdown_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, align: Sequence[str] = ()
) -> str:
    """Return a Markdown table.

    Args:
        align: of the columns after the first, such as `---:` for numbers; the last one is repeated.
    """
    rule = ["---", *align] if align else ["---"]
    rule += rule[-1:] * (len(head) - len(rule))
    return "\n".join(map(_row, [head, rule, *rows]))


def replace_tables(page: Path, tables: str, begin: str, end: str | None = None) -> None:
    """Write a page anew, with `tables` after the mark `begin`; see `with_tables`."""
    atomic.write_text(page, with_tables(page.read_text(encoding="utf-8"), tables, begin, end))


def with_tables(text: str, tables: str, begin: str, end: str | None = None) -> str:
    """Return a page's text with new tables after the mark `begin`.

    Args:
        end: the mark where the tables end; None: at the end of the page.

    Raises:
        ValueError: the page lacks a mark.
    """
    head, found, rest = text.partition(begin)
    tail = ""
    if found and end is not None:
        _, found, tail = rest.partition(end)
    if not found:
        marks = begin if end is None else f"{begin} and {end}"
        raise ValueError(f"found a page without the marks {marks}; add them around its tables")
    return f"{head}{begin}\n\n{tables}" + ("" if end is None else f"\n\n{end}{tail}")


def _row(cells: Sequence[object]) -> str:
    return "|" + "|".join(f" {cell} " if cell != "" else " " for cell in cells) + "|"
