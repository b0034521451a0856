"""Figures of errors with intervals: a row of dots, and curves during training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rppg.report.figure_style import (
    DASHES,
    MARKERS,
    PALETTE,
    TRUTH,
    in_house_style,
    new_figure,
)


@dataclass(frozen=True)
class Points:
    """Values with intervals; NaN where undefined.

    Attributes:
        x: where they are drawn.
        y: values.
        low, high: their intervals.
    """

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@in_house_style
def dot_figure(values: Mapping[str, tuple[float, float, float]], axis: str, title: str) -> Figure:
    """Draw a value with its interval for each name, one below the other; lower is better."""
    figure, (axes,) = new_figure(5.2, 0.9 + 0.3 * len(values))
    for row, (value, low, high) in enumerate(values.values()):
        axes.plot([low, high], [row, row], color=PALETTE[0], linewidth=2)
        axes.plot(value, row, "o", color=PALETTE[0], markersize=6)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(axis)
    axes.set_title(title)
    return figure


@in_house_style
def curve_figure(
    curves: Mapping[str, Points], references: Mapping[str, float], *, axis: str, title: str
) -> Figure:
    """Draw the error of each method during training, with its interval, over a logarithmic axis.

    Args:
        curves: by method.
        references: errors of methods without a training, drawn as horizontal lines.
        axis: name of the horizontal axis.
        title: of the figure.
    """
    figure, (axes,) = new_figure(4.6, 3.6)
    for index, (name, points) in enumerate(curves.items()):
        tone = PALETTE[index % len(PALETTE)]
        low, high = np.array(points.low), np.array(points.high)
        axes.fill_between(points.x, low, high, color=tone, alpha=0.15, linewidth=0)
        marker, dash = MARKERS[index % len(MARKERS)], DASHES[index // len(PALETTE) % len(DASHES)]
        axes.plot(
            points.x, points.y, color=tone, marker=marker, markersize=4, linestyle=dash, label=name
        )
    shown = [value for value in references.values() if np.isfinite(value)]
    for index, (name, value) in enumerate(references.items()):
        if np.isfinite(value):
            grey = "#777777" if index // len(DASHES) % 2 else TRUTH
            dash = DASHES[1 + index % (len(DASHES) - 1)]
            axes.axhline(value, color=grey, linestyle=dash, linewidth=1, label=name)
    axes.set_xscale("log")
    # Matplotlib's own labels of a logarithmic axis are mathematics, which the style leaves off
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, _top(curves, shown))
    axes.set_xlabel(axis)
    axes.set_ylabel("mean absolute error (bpm)")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _top(curves: Mapping[str, Points], references: Sequence[float]) -> float:
    ends = [value for points in curves.values() for value in (*points.y, *points.high)]
    return 1.08 * max([*ends, *references, 1.0], key=lambda v: v if np.isfinite(v) else -np.inf)
