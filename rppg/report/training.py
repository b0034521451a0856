"""Training curves: loss terms, share of kept samples, cosine of successive gradients."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from rppg.report.document import TrainingLog
from rppg.report.figure_style import DASHES, PALETTE, in_house_style, new_figure

_TIME_AXES = ("clips_seen", "step", "epoch")
_PANELS = (
    (
        "Loss and its terms",
        ("loss", "bandwidth", "sparsity", "variance", "coherence"),
        "Loss terms during training: all should fall and level off. One that rises is traded for "
        "the others.",
    ),
    (
        "Kept fraction",
        ("kept",),
        "Share of the samples that passed verification and contributed to the gradient: near 1 all "
        "are used, near 0 hardly any.",
    ),
    (
        "Gradient cosine",
        ("gradient_cosine",),
        "Cosine between successive gradients: above 0 they agree, near 0 they are noise, below 0 "
        "training oscillates.",
    ),
)


def training_figures(log: TrainingLog) -> list[tuple[Figure, str, str]]:
    """Return figure, title and explanation of each panel that the log has values for."""
    if not log:
        return []
    time_axis = next((key for key in _TIME_AXES if any(key in row for row in log)), None)
    x = _column(log, time_axis) if time_axis else np.arange(1.0, len(log) + 1)
    figures = []
    for title, keys, reading in _PANELS:
        present = [key for key in keys if np.any(np.isfinite(_column(log, key)))]
        if present:
            figures.append((_curves(x, log, present, time_axis or "step", title), title, reading))
    return figures


@in_house_style
def _curves(
    x: NDArray[np.float64], log: TrainingLog, keys: Sequence[str], time_axis: str, title: str
) -> Figure:
    figure, (axes,) = new_figure(4.6, 3.0)
    for index, key in enumerate(keys):
        y = _column(log, key)
        finite = np.isfinite(y) & np.isfinite(x)
        smooth = median_filter(y[finite], size=max(1, len(y) // 40 * 2 + 1), mode="nearest")
        tone, dash = PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
        axes.plot(x[finite], y[finite], color=tone, alpha=0.25, linewidth=0.8)
        single = "o" if np.sum(finite) == 1 else ""
        axes.plot(x[finite], smooth, color=tone, linestyle=dash, marker=single, label=_plain(key))
    axes.set_title(title)
    axes.set_xlabel(_plain(time_axis))
    if keys == ["kept"]:
        axes.set_ylim(-0.03, 1.03)
    if keys == ["gradient_cosine"]:
        axes.axhline(0, color="#777777", linewidth=0.8)
    if len(keys) > 1:
        figure.legend(ncols=3, loc="outside lower center")
    return figure


def _column(log: TrainingLog, key: str) -> NDArray[np.float64]:
    return np.array([row.get(key, np.nan) for row in log], dtype=np.float64)


def _plain(key: str) -> str:
    return key.replace("_", " ")
