"""Curves of convergence, by the clips trained on or by the seconds of training."""

from collections.abc import Callable, Sequence

from rppg.report import html_elements as html
from rppg.report.columns import MISSING, number
from rppg.report.data_table import TableCell, TableRow, data_table
from rppg.report.interval_figures import Points, curve_figure
from rppg.study.report.wording import ALL, COUNTS, columns_of, counts, limits
from rppg.study.results import CurvePoint, Tables


def curves_section(tables: Tables, datasets: Sequence[str]) -> str:
    """Return the section of a study of convergence; empty for another one."""
    if not tables.curve_points:
        return ""
    return html.section(
        "Convergence",
        "The mean of each method over its training sets after each tested epoch, with its 95 % "
        "interval over subjects and seeds, against the clips that it was trained on until then. "
        "Horizontal: methods without curves. Note the logarithmic axis.",
        curve_images(tables, datasets, lambda point: point.clips, "clips seen"),
        html.fold("The numbers of the curves", _numbers(tables, datasets)),
        anchor="convergence",
    )


def curve_images(
    tables: Tables, datasets: Sequence[str], x: Callable[[CurvePoint], float], axis: str
) -> str:
    """Return a figure for each dataset, and one for all.

    Args:
        tables: of the study.
        datasets: in their order.
        x: where a point is on the horizontal axis.
        axis: name of that axis.
    """
    with_curve = {point.mean.label for point in tables.curve_points}
    images = []
    tests = columns_of((point.mean.test for point in tables.curve_points), datasets)
    for test in sorted(tests, key=bool):  # all datasets first
        own = [point for point in tables.curve_points if point.mean.test == test]
        curves = {
            label: _points([point for point in own if point.mean.label == label], x)
            for label in dict.fromkeys(point.mean.label for point in own)
        }
        others = {
            mean.label: mean.mae_bpm
            for mean in tables.means
            if mean.test == test and mean.label not in with_curve
        }
        where = test or ALL
        most = max(point.mean.n_windows for point in own)
        people = max(point.mean.n_subjects for point in own)
        title = f"Tested on {where}, n = {most} windows of {people} people"
        ends = "; ".join(f"{label} ends at {number(c.y[-1], 2)}" for label, c in curves.items())
        images.append(
            html.image(
                curve_figure(curves, others, axis=axis, title=title),
                f"Mean absolute error on {where} against {axis}: {ends} bpm",
            )
        )
    return html.images(images)


def _points(points: Sequence[CurvePoint], x: Callable[[CurvePoint], float]) -> Points:
    return Points(
        x=[x(point) for point in points],
        y=[point.mean.mae_bpm for point in points],
        low=[point.mean.low for point in points],
        high=[point.mean.high for point in points],
    )


def _numbers(tables: Tables, datasets: Sequence[str]) -> str:
    points = tables.curve_points
    epochs = sorted({point.epoch for point in points})
    rows = []
    for test in columns_of((point.mean.test for point in points), datasets):
        rows.append(TableRow(test or ALL))
        own = {(p.mean.label, p.epoch): p for p in points if p.mean.test == test}
        rows += [
            TableRow(label, [_cell(own.get((label, epoch))) for epoch in epochs])
            for label in dict.fromkeys(label for label, _ in own)
        ]
    return data_table(
        [f"epoch {epoch}" for epoch in epochs],
        rows,
        caption=f"Mean absolute error (bpm), its 95 % interval, clips trained on. {COUNTS}",
    )


def _cell(point: CurvePoint | None) -> TableCell:
    if point is None:
        return TableCell(MISSING)
    mean = point.mean
    return TableCell(
        number(mean.mae_bpm, 2),
        (
            limits(mean.low, mean.high),
            f"{point.clips:.0f} clips",
            counts(mean.n_windows, mean.n_subjects),
        ),
    )
