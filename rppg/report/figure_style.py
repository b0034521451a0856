"""Style of Matplotlib figures: palette, fonts, and the encoding as a data URI."""

import base64
import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TRUTH = "#000000"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00")
"""Okabe and Ito's colours, which colour-blind readers can distinguish, without yellow."""

DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

P = ParamSpec("P")
R = TypeVar("R")

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "rppg",
}


def colour(methods: Sequence[str], method: str) -> str:
    """Return the colour of a method, the same in every figure of a report."""
    return PALETTE[methods.index(method) % len(PALETTE)]


def in_house_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the report's style, without changing Matplotlib's defaults."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return styled


def new_figure(width_in: float, height_in: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of stacked axes that share the x axis."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


@in_house_style
def data_uri(figure: Figure) -> str:
    """Return the figure as an SVG data URI."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode("ascii")
