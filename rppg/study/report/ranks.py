"""Section of the ranks."""

import math
from collections.abc import Sequence

from rppg.report import html_elements as html
from rppg.report.columns import MISSING, number
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.study.report.wording import ALL, columns_of, limits, many, marked, percent
from rppg.study.results import Rank, Tables
from rppg.study.tables.subject_errors import RESAMPLES


def ranks_section(tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section: the methods in the order of their mean rank."""
    found = {(rank.label, rank.test): rank for rank in tables.ranks}
    columns = columns_of((rank.test for rank in tables.ranks), datasets)
    labels = sorted(
        dict.fromkeys(rank.label for rank in tables.ranks),
        key=lambda label: _order(found.get((label, columns[-1]))),
    )
    seen = {(mean.label, mean.test): mean.seen for mean in tables.means}
    rows = [
        TableRow(label, [_cell(found.get((label, c)), seen.get((label, c), 0)) for c in columns])
        for label in labels
    ]
    heads = [column or f"mean of {ALL}" for column in columns]
    notes = [_counts([rank for rank in tables.ranks if rank.test == column]) for column in columns]
    return html.section(
        "Ranks",
        "By mean absolute error; equal errors share the mean of their ranks. Below: the 95 % "
        f"interval of the rank, and in which share of {RESAMPLES} draws of subjects and seeds the "
        "method is first; all methods are compared on the same draws of subjects. A share far "
        "from 100 % means that other people or seeds could have changed who is first.",
        data_table(
            heads,
            rows,
            caption="Rank of each method; the last column orders the rows.",
            notes=notes,
        ),
        anchor="ranks",
    )


def _order(rank: Rank | None) -> float:
    return rank.rank if rank is not None and math.isfinite(rank.rank) else math.inf


def _counts(ranks: Sequence[Rank]) -> str:
    people = max(rank.n_subjects for rank in ranks)
    return f"{many(ranks[0].n_methods, 'method')}, {people} people"


def _cell(rank: Rank | None, seen: int) -> TableCell:
    if rank is None:
        return TableCell(MISSING)
    if not math.isfinite(rank.rank):
        return TableCell(MISSING, (f"ranked on {many(rank.n_datasets, 'dataset')} only",))
    text = f"{rank.rank:.1f}" if rank.test == "" or rank.rank % 1 else f"{rank.rank:.0f}"
    if not math.isfinite(rank.first):
        return TableCell(marked(text, seen), ("one person: nothing to draw",))
    return TableCell(
        marked(text, seen), (limits(rank.low, rank.high, 1), f"first in {percent(rank.first)}")
    )


def first_words(rank: Rank | None) -> str:
    """Return how sure a first rank is, for a sentence; empty if that is undefined."""
    if rank is None or not math.isfinite(rank.first):
        return ""
    return f"; first of {rank.n_methods} in {number(100 * rank.first, 0)} % of draws"
