"""HTML elements of the report. They escape all text that they are given."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from rppg.evaluation import Scores
from rppg.report.colour_scale import ColourScale
from rppg.report.columns import COLUMNS, best, coverage, interval, number, statistic
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.report.trained_on import MARK, footnotes, mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS = (resources.files("rppg.report") / "report.css").read_text(encoding="utf-8")


def page(title: str, sections: Sequence[str]) -> str:
    """Return the whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, reading: str, *content: str, anchor: str = "") -> str:
    """Return a section with a heading; `reading` is a sentence that explains its content.

    Links lead to its `anchor`.
    """
    attribute = f' id="{escape(anchor, quote=True)}"' if anchor else ""
    return (
        f'<section{attribute}>\n<h2>{escape(title)}</h2>\n<p class="read">{escape(reading)}</p>\n'
        + "\n".join(content)
        + "\n</section>"
    )


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """Return a heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def fold(title: str, *content: str) -> str:
    """Return content that unfolds on a click."""
    return f"<details>\n<summary>{escape(title)}</summary>\n" + "\n".join(content) + "\n</details>"


def side_by_side(items: Sequence[str]) -> str:
    """Return content, such as small tables, in rows of as many as fit."""
    return '<div class="beside">' + "\n".join(f"<div>{item}</div>" for item in items) + "</div>"


def links(sections: Mapping[str, str]) -> str:
    """Return links to sections: titles by anchor."""
    items = (
        f'<li><a href="#{escape(anchor, quote=True)}">{escape(title)}</a></li>'
        for anchor, title in sections.items()
    )
    return f'<nav aria-label="Sections"><ul>{"".join(items)}</ul></nav>'


def preformatted(text: str) -> str:
    """Return text as it is, such as a file."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def colour_legend(scale: ColourScale, unit: str, *, steps: int = 5, digits: int = 1) -> str:
    """Return a scale of colours with its values."""
    parts = "".join(
        f'<span style="background:{scale.colour(value)}">{number(value, digits)}</span>'
        for value in scale.steps(steps)
    )
    return f'<p class="scale">{parts} {escape(unit)}</p>'


def settings_list(settings: Mapping[str, object]) -> str:
    """Return a list of names and values."""
    items = (
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in settings.items()
    )
    return "<dl>" + "".join(items) + "</dl>"


def bullets(items: Sequence[str]) -> str:
    """Return a bulleted list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def image(figure: "Figure", description: str) -> str:
    """Return an embedded figure; `description` is its alternative text."""
    from rppg.report.figure_style import data_uri

    return (
        f'<figure><img src="{data_uri(figure)}" alt="{escape(description, quote=True)}"></figure>'
    )


def images(items: Sequence[str], *, small: bool = False) -> str:
    """Return images in as many columns as fit."""
    return f'<div class="figures{" small" if small else ""}">' + "\n".join(items) + "</div>"


def score_rows(table: Sequence[Scores]) -> str:
    """Return the score table: a part for each dataset and group, the best of each column marked."""
    marked = {column.field: best(column, table) for column in COLUMNS}
    rows: list[TableRow] = []
    part: tuple[str, str] | None = None
    for scores in table:
        if (scores.dataset, scores.group) != part:
            part = (scores.dataset, scores.group)
            rows.append(TableRow(" · ".join(text for text in part if text)))
        key = (scores.dataset, scores.group, scores.method)
        cells = [
            TableCell(
                statistic(column, scores),
                (interval(column.get(scores), column.digits),) if column.with_se else (),
                best=key in marked[column.field],
            )
            for column in COLUMNS
        ]
        cells += [TableCell(coverage(scores)), TableCell(f"{scores.n} ({scores.n_subjects})")]
        rows.append(TableRow(scores.method + mark(scores), cells))
    heads = [*(column.title for column in COLUMNS), "Coverage", "n (subjects)"]
    meanings = [*(column.meaning for column in COLUMNS), "", ""]
    notes = "".join(paragraph(f"{MARK} {note}.") for note in footnotes(table))
    return data_table(heads, rows, meanings=meanings) + notes
