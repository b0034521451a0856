"""Section of the matrices: trained on × tested on, one for each method that is trained."""

from collections.abc import Iterable, Sequence

from rppg.report import html_elements as html
from rppg.report.colour_scale import ColourScale
from rppg.report.columns import MISSING, number
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.study.report.wording import COUNTS, counts, limits, many, marked
from rppg.study.results import Cell, Tables

PARTS = {"test": "test split", "folds": "all folds", "whole": ""}
"""What is said of each part of a dataset."""


def matrices_section(tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section, with one scale of colours for all of its tables."""
    scale = ColourScale.over(cell.mae_bpm for cell in tables.cells)
    trained: dict[str, list[Cell]] = {}
    for cell in tables.cells:
        if cell.training:
            trained.setdefault(cell.label, []).append(cell)
    others = [cell for cell in tables.cells if not cell.training]
    matrices = [
        html.heading(label + _seeds(cells)) + _matrix(label, cells, datasets, scale)
        for label, cells in trained.items()
    ]
    content = [html.side_by_side(matrices)] if matrices else []
    if others:
        content += [html.heading("Not trained in this study"), _untrained(others, datasets, scale)]
    return html.section(
        "Trained on × tested on",
        "Mean absolute error in bpm over all seeds, its 95 % interval, and the number of windows "
        "and people of one seed. Light is low, dark is high, the same in every table. A dataset's "
        "test split is tested where its training split is trained on; all other datasets are "
        "tested whole.",
        html.colour_legend(scale, "bpm"),
        *content,
        anchor="matrices",
    )


def _seeds(cells: Sequence[Cell]) -> str:
    """Return `, 3 seeds`; empty if nothing about the method is random."""
    return f", {many(max(cell.n_seeds for cell in cells), 'seed')}" if cells[0].seeded else ""


def _matrix(label: str, cells: Sequence[Cell], datasets: Sequence[str], scale: ColourScale) -> str:
    tests = [name for name in datasets if any(cell.test == name for cell in cells)]
    rows = []
    for training in dict.fromkeys(cell.training for cell in cells):
        own = {cell.test: cell for cell in cells if cell.training == training}
        rows.append(TableRow(training, [_cell(own.get(test), scale) for test in tests]))
    caption = f"{label}: MAE in bpm. {COUNTS}"
    return data_table(tests, rows, caption=caption, corner="Trained on")


def _untrained(cells: Sequence[Cell], datasets: Sequence[str], scale: ColourScale) -> str:
    columns = [
        (name, part)
        for name in datasets
        for part in ("whole", "folds", "test")
        if any((cell.test, cell.part) == (name, part) for cell in cells)
    ]
    rows = []
    for label in dict.fromkeys(cell.label for cell in cells):
        own = {(cell.test, cell.part): cell for cell in cells if cell.label == label}
        shown = [_cell(own.get(column), scale, part=False) for column in columns]
        rows.append(TableRow(label, shown, _seeds(list(own.values())).removeprefix(", ")))
    heads = [f"{name}, {PARTS[part]}" if PARTS[part] else name for name, part in columns]
    caption = f"Methods without a training in this study: MAE in bpm on each dataset. {COUNTS}"
    return data_table(heads, rows, caption=caption)


def _cell(cell: Cell | None, scale: ColourScale, *, part: bool = True) -> TableCell:
    if cell is None:
        return TableCell(MISSING)
    return TableCell(
        marked(number(cell.mae_bpm, 2), cell.seen),
        tuple(_notes(cell, part=part)),
        background=scale.colour(cell.mae_bpm),
    )


def _notes(cell: Cell, *, part: bool) -> Iterable[str]:
    yield limits(cell.low, cell.high)
    yield counts(cell.n_windows, cell.n_subjects)
    if part:
        yield PARTS[cell.part]
    if cell.seen:
        yield f"{cell.seen} of {cell.n_recordings} recordings seen"
