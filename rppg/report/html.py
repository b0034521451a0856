"""The few pieces of HTML that the report is made of; all text from outside is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.figure import Figure

from rppg.evaluation import Scores
from rppg.report.columns import COLUMNS, best, coverage, interval, statistic
from rppg.report.figure_style import data_uri

CSS = """
:root { color-scheme: light; --ink: #1b1b1b; --soft: #5a5a5a; --rule: #d9d9d9; --best: #e8f3ec; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem clamp(0.8rem, 3vw, 2.5rem) 3rem; max-width: 82rem;
  color: var(--ink); background: #fff; font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.4rem; padding-top: 0.6rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1.02rem; margin: 1.3rem 0 0.4rem; overflow-wrap: anywhere; }
p { max-width: 46rem; margin: 0.4rem 0 0.8rem; }
.read { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.32rem 0.7rem; text-align: right; white-space: nowrap; vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); font-weight: 600; }
tbody th { text-align: left; font-weight: 500; }
thead th.name { text-align: left; }
tr.part th { padding-top: 0.9rem; font-weight: 700; text-align: left;
  border-bottom: 1px solid var(--rule); }
td.best { font-weight: 700; background: var(--best); }
td.best i { font-style: normal; font-size: 0.75em; }
tbody th[scope="row"], thead th.name { position: sticky; left: 0; background: #fff; }
td small { display: block; color: var(--soft); font-weight: 400; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0.15rem 1.2rem;
  font-size: 0.92rem; margin: 0.4rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; gap: 1rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); align-items: start; }
.figures.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; } figure img { width: 100%; max-width: 40rem; height: auto; display: block; }
details { margin: 0.5rem 0; } summary { cursor: pointer; font-weight: 600; }
li { overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  table { font-size: 8pt; } th, td { padding: 0.15rem 0.35rem; }
  .figures { grid-template-columns: 1fr 1fr; }
  .figures.small { grid-template-columns: repeat(3, 1fr); }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } .scroll { overflow: visible; }
}
"""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, reading: str, *content: str) -> str:
    """A headed section; `reading` says in a sentence how to read it."""
    return (
        f'<section>\n<h2>{escape(title)}</h2>\n<p class="read">{escape(reading)}</p>\n'
        + "\n".join(content)
        + "\n</section>"
    )


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def fold(title: str, *content: str) -> str:
    """Content that unfolds on a click."""
    return f"<details>\n<summary>{escape(title)}</summary>\n" + "\n".join(content) + "\n</details>"


def settings_list(settings: Mapping[str, object]) -> str:
    """Names and values."""
    items = (
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in settings.items()
    )
    return "<dl>" + "".join(items) + "</dl>"


def bullets(items: Sequence[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def image(picture: Figure, description: str) -> str:
    """A figure, embedded; `description` for those who cannot see it."""
    return (
        f'<figure><img src="{data_uri(picture)}" alt="{escape(description, quote=True)}"></figure>'
    )


def images(pictures: Sequence[str], *, small: bool = False) -> str:
    """Figures in as many columns as fit."""
    return f'<div class="figures{" small" if small else ""}">' + "\n".join(pictures) + "</div>"


def score_rows(table: Sequence[Scores]) -> str:
    """The score table: a part for each dataset (and group), the best of each column marked."""
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
            span = interval(column.get(scores), column.digits) if column.with_se else ""
            opening = '<td class="best"><i>★</i> ' if is_best else "<td>"
            small = f"<small>{span}</small>" if span else ""
            cells += f"{opening}{statistic(column, scores)}{small}</td>"
        body.append(
            f'<tr><th scope="row">{escape(scores.method)}</th>{cells}'
            f"<td>{coverage(scores)}</td><td>{scores.n} ({scores.n_subjects})</td></tr>"
        )
    return (
        f'<div class="scroll"><table><thead>{head}</thead><tbody>'
        + "\n".join(body)
        + "</tbody></table></div>"
    )
