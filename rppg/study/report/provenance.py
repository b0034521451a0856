"""Sections of what isn't in the tables, what the data is, and how to run the study again."""

from collections.abc import Mapping

from rppg.report import html_elements as html
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.study.report.wording import many
from rppg.study.results import LeftOut, Tables
from rppg.study.run import Prepared

SHOWN = 10
"""Lines of one kind that are shown at once; more unfold on a click."""
KINDS = {
    "part": "Parts of datasets that can't be used",
    "trial": "Trials that couldn't be run, or failed",
    "test": "Tests that failed",
    "recording": "Recordings left out of tests",
    "estimate": "Recordings for which a method gave no estimate",
    "training recording": "Recordings left out of trainings",
}


def left_out_section(tables: Tables) -> str:
    """Return the section of what was left out, and why."""
    content = []
    if tables.missing:
        title = f"{len(tables.missing)} of {many(tables.trials, 'trial')} not finished yet"
        content.append(_listed(title, list(tables.missing)))
    for kind in dict.fromkeys(out.kind for out in tables.left_out):
        own = [out for out in tables.left_out if out.kind == kind]
        content.append(_listed(f"{KINDS.get(kind, kind)} ({len(own)})", list(map(_line, own))))
    if not content:
        content = [html.paragraph(f"Nothing: all of {many(tables.trials, 'trial')} are in.")]
    return html.section(
        "Left out",
        "Not included in any number above, with the reason and the number of trials concerned.",
        *content,
        anchor="left-out",
    )


def provenance_section(prepared: Prepared, versions: Mapping[str, str]) -> str:
    """Return the section of the data and the settings."""
    rows = [
        TableRow(
            part.title,
            [TableCell(str(survey.recordings)), TableCell(str(survey.subjects)),
             TableCell(survey.digest[:12])],
        )
        for part, survey in prepared.parts.items()
        if not survey.reason
    ]  # fmt: skip
    return html.section(
        "Data and settings",
        "Save the text below as study.toml: rppg benchmark --config study.toml runs this study. "
        "A digest is of the content of a part's files, wherever they are.",
        data_table(
            ["Recordings", "People", "Digest"],
            rows,
            caption="What is in each part of each dataset.",
            corner="Part",
        ),
        html.heading("study.toml"),
        html.preformatted(prepared.study.to_toml()),
        html.heading("Versions"),
        html.settings_list(versions),
        anchor="settings",
    )


def _listed(title: str, lines: list[str]) -> str:
    if len(lines) > SHOWN:
        return html.fold(title, html.bullets(lines))
    return html.heading(title) + html.bullets(lines)


def _line(out: LeftOut) -> str:
    return f"{out.what}: {out.reason} ({many(out.trials, 'trial')})"
