"""Section of the errors by what is known of the recordings."""

from collections.abc import Sequence

from rppg.data.find_files import natural_key
from rppg.report import html_elements as html
from rppg.report.columns import MISSING, number
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.study.report.wording import COUNTS, counts, limits, marked
from rppg.study.results import Group, Tables


def breakdown_section(tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section, with a table for each property; empty if nothing is known."""
    keys = dict.fromkeys(group.key for group in tables.breakdown)
    if not keys:
        return ""
    content = [
        html.fold(
            f"By {_words(key)}",
            _table(key, [group for group in tables.breakdown if group.key == key], datasets),
        )
        for key in keys
    ]
    return html.section(
        "By properties of the recordings",
        "Means as above, over the recordings that share a property which their dataset gives. "
        "Groups are small and differ in more than the property: compare the intervals, which are "
        "over subjects and seeds.",
        *content,
        anchor="breakdown",
    )


def _table(key: str, groups: Sequence[Group], datasets: Sequence[str]) -> str:
    values = sorted({group.value for group in groups}, key=natural_key)
    rows = []
    for dataset in datasets:
        own = [group for group in groups if group.mean.test == dataset]
        found = {(group.mean.label, group.value): group for group in own}
        rows += [TableRow(dataset)] if own else []
        rows += [
            TableRow(label, [_cell(found.get((label, value))) for value in values])
            for label in dict.fromkeys(group.mean.label for group in own)
        ]
    caption = f"Mean absolute error (bpm) by {_words(key)}, its 95 % interval below. {COUNTS}"
    return data_table(values, rows, caption=caption)


def _cell(group: Group | None) -> TableCell:
    if group is None:
        return TableCell(MISSING)
    mean = group.mean
    return TableCell(
        marked(number(mean.mae_bpm, 2), mean.seen),
        (limits(mean.low, mean.high), counts(mean.n_windows, mean.n_subjects)),
    )


def _words(key: str) -> str:
    return key.replace("_", " ")
