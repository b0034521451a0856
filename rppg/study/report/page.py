"""The page: headlines, links, and the sections in their order."""

from collections.abc import Iterable, Mapping

from rppg.report import html_elements as html
from rppg.study.report.agreement import agreement_section
from rppg.study.report.breakdown import breakdown_section
from rppg.study.report.curves import curves_section
from rppg.study.report.matrices import matrices_section
from rppg.study.report.means import best_of, means_section
from rppg.study.report.provenance import left_out_section, provenance_section
from rppg.study.report.ranks import first_words, ranks_section
from rppg.study.report.timing import ANCHOR, TITLE, timing_section
from rppg.study.report.wording import ALL, columns_of, many, marked
from rppg.study.results import Tables
from rppg.study.run import Prepared

TITLES = {
    "cross": "Trained on one dataset, tested on the others",
    "leave-one-out": "Trained on all datasets but one, tested on that one",
    "intra": "Trained and tested within each dataset",
    "convergence": "Error after each epoch",
    "ablation": "Each setting of the three levels",
}
"""Of the page, by the study's protocol."""


def study_html(prepared: Prepared, tables: Tables, versions: Mapping[str, str]) -> str:
    """Return the report of a study: one HTML document that refers to no other file.

    All durations and dates are in its last section, `timing`; the rest of it is the same, bit by
    bit, for the same results.
    """
    datasets = [dataset.name for dataset in prepared.study.data]
    measured = bool(tables.means)
    sections = {
        "means": ("Means by column", means_section(tables, datasets) if measured else ""),
        "ranks": ("Ranks", ranks_section(tables, datasets) if tables.ranks else ""),
        "matrices": ("Trained on × tested on", matrices_section(tables, datasets)),
        "convergence": ("Convergence", curves_section(tables, datasets)),
        "agreement": ("Agreement", agreement_section(tables, datasets) if measured else ""),
        "breakdown": ("By properties", breakdown_section(tables, datasets)),
        "left-out": ("Left out", left_out_section(tables)),
        "settings": ("Data and settings", provenance_section(prepared, versions)),
        ANCHOR: (TITLE, timing_section(prepared, tables, datasets)),
    }
    present = {anchor: found for anchor, found in sections.items() if found[1]}
    content = [
        html.bullets(list(_headlines(prepared, tables))),
        html.links({anchor: title for anchor, (title, _) in present.items()}),
        *(text for _, text in present.values()),
    ]
    return html.page(TITLES[prepared.study.protocol], content)


def _headlines(prepared: Prepared, tables: Tables) -> Iterable[str]:
    """Yield the best method of each dataset, and what is missing."""
    found = {(mean.label, mean.test): mean for mean in tables.means}
    ranks = {(rank.label, rank.test): rank for rank in tables.ranks}
    datasets = [dataset.name for dataset in prepared.study.data]
    for test in columns_of((mean.test for mean in tables.means), datasets):
        label = best_of(tables.means, test)
        if label:
            mean = found[label, test]
            yield (
                f"{test or ALL.capitalize()}: {marked(label, mean.seen)} has the least mean "
                f"absolute error, {mean.mae_bpm:.2f} bpm (n = {mean.n_windows} windows of "
                f"{mean.n_subjects} people){first_words(ranks.get((label, test)))}."
            )
    counts = [
        f"{len(prepared.jobs) - len(tables.missing)} of {many(tables.trials, 'trial')} finished",
        *([f"{len(prepared.skipped)} can't be run"] if prepared.skipped else []),
        *([f"{len(tables.missing)} to come"] if tables.missing else []),
    ]
    yield "; ".join(counts) + ("; see Left out." if tables.left_out else "; nothing left out.")
