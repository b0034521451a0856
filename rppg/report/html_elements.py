"""HTML elements of the report. They escape all text that they are given."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from rppg.evaluation import Scores
from rppg.report.columns import COLUMNS, best, coverage, interval, statistic
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


def section(title: str, reading: str, *content: str) -> str:
    """Return a section with a heading; `reading` is a sentence that explains its content."""
    return (
        f'<section>\n<h2>{escape(title)}</h2>\n<p class="read">{escape(reading)}</p>\n'
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
    titles = "".join(
        f'<th scope="col" title="{escape(column.meaning, quote=True)}">{escape(column.title)}</th>'
        for column in COLUMNS
    )
    head = (
        f'<tr><th scope="col" class="name">Method</th>{titles}'
        '<th scope="col">Coverage</th><th scope="col">n (subjects)</th></tr>'
    )
    body = []
    part: tuple[str, str] | None = None
    for scores in table:
        if (scores.dataset, scores.group) != part:
            part = (scores.dataset, scores.group)
            name = escape(" · ".join(text for text in part if text))
            across = f'colspan="{len(COLUMNS) + 3}" scope="rowgroup"'
            body.append(f'<tr class="part"><th {across}>{name}</th></tr>')
        cells = ""
        for column in COLUMNS:
            is_best = (scores.dataset, scores.group, scores.method) in marked[column.field]
            limits = interval(column.get(scores), column.digits) if column.with_se else ""
            opening = '<td class="best"><i>★</i> ' if is_best else "<td>"
            small = f"<small>{limits}</small>" if limits else ""
            cells += f"{opening}{statistic(column, scores)}{small}</td>"
        body.append(
            f'<tr><th scope="row">{escape(scores.method + mark(scores))}</th>{cells}'
            f"<td>{coverage(scores)}</td><td>{scores.n} ({scores.n_subjects})</td></tr>"
        )
    notes = "".join(paragraph(f"{MARK} {note}.") for note in footnotes(table))
    return (
        f'<div class="scroll"><table><thead>{head}</thead><tbody>'
        + "\n".join(body)
        + f"</tbody></table></div>{notes}"
    )
