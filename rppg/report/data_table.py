"""A table as HTML. It scrolls sideways within itself, so that it is legible on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class TableCell:
    """A cell.

    Attributes:
        text: the value.
        notes: small lines below it.
        best: whether it is marked as the best.
        background: a CSS colour; empty: none.
    """

    text: str
    notes: tuple[str, ...] = ()
    best: bool = False
    background: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row.

    Attributes:
        name: its heading.
        cells: its cells; empty: the row is a heading of those below it.
        note: a small line below the name.
    """

    name: str
    cells: Sequence[TableCell] = ()
    note: str = ""


def data_table(
    columns: Sequence[str],
    rows: Sequence[TableRow],
    *,
    caption: str = "",
    corner: str = "Method",
    meanings: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return a table with a heading for each row and column. All text is escaped.

    Args:
        columns: their headings.
        rows: the rows, each with a cell for each column.
        caption: what the table shows.
        corner: what the rows are.
        meanings: an explanation of each column, shown by a pointer that rests on its heading.
        notes: a small line below each heading.
    """
    titles = [f' title="{escape(meaning, quote=True)}"' for meaning in meanings]
    nothing = [""] * len(columns)
    heads = "".join(
        f'<th scope="col"{title}>{_noted(name, note)}</th>'
        for name, title, note in zip(columns, titles or nothing, notes or nothing, strict=True)
    )
    body = "\n".join(_row(row, len(columns)) for row in rows)
    name = escape(caption, quote=True)
    # a region that scrolls can be reached by keyboard, and then needs a name
    region = f' role="region" tabindex="0" aria-label="{name}"' if caption else ""
    words = f"<caption><span>{name}</span></caption>" if caption else ""
    return (
        f'<div class="scroll"{region}><table>{words}<thead>'
        f'<tr><th scope="col" class="name">{escape(corner)}</th>{heads}</tr></thead><tbody>'
        f"{body}</tbody></table></div>"
    )


def _row(row: TableRow, columns: int) -> str:
    name = _noted(row.name, row.note)
    if not row.cells:
        return f'<tr class="part"><th colspan="{columns + 1}" scope="rowgroup">{name}</th></tr>'
    return f'<tr><th scope="row">{name}</th>{"".join(map(_cell, row.cells))}</tr>'


def _noted(text: str, *notes: str) -> str:
    return escape(text) + "".join(f"<small>{escape(note)}</small>" for note in notes if note)


def _cell(cell: TableCell) -> str:
    classes = [name for name, given in (("best", cell.best), ("shade", cell.background)) if given]
    opening = f' class="{" ".join(classes)}"' if classes else ""
    if cell.background:
        opening += f' style="background:{escape(cell.background, quote=True)}"'
    star = "<i>★</i> " if cell.best else ""
    return f"<td{opening}>{star}{_noted(cell.text, *cell.notes)}</td>"
