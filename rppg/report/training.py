"""Training curves: loss terms, kept fraction, agreement of successive gradients."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from rppg.report.figure_style import DASHES, PALETTE, figure, in_house_style

TrainingLog = Sequence[Mapping[str, float]]
"""One row a step: `step` and/or `clips_seen`, and any of the quantities below."""

_CLOCKS = ("clips_seen", "step", "epoch")
_PANELS = (
    (
        "Loss and its terms",
        ("loss", "bandwidth", "sparsity", "variance", "coherence"),
        "Loss terms while training: all should fall and level off; one that rises is given up "
        "for the others.",
    ),
    (
        "Kept fraction",
        ("kept",),
        "Share of the samples that passed verification and contributed gradient: near 1 nothing "
        "is screened out, near 0 hardly anything is learned from.",
    ),
    (
        "Gradient cosine",
        ("gradient_cosine",),
        "Cosine between successive gradients: above 0 they pull the same way, about 0 they are "
        "noise, below 0 training oscillates.",
    ),
)


def training_figures(log: TrainingLog) -> list[tuple[Figure, str, str]]:
    """Figure, title and how to read it, for each panel that the log has values for."""
    if not log:
        return []
    clock = next((key for key in _CLOCKS if any(key in row for row in log)), None)
    x = _column(log, clock) if clock else np.arange(1.0, len(log) + 1)
    figures = []
    for title, keys, reading in _PANELS:
        present = [key for key in keys if np.any(np.isfinite(_column(log, key)))]
        if present:
            figures.append((_curves(x, log, present, clock or "step", title), title, reading))
    return figures


@in_house_style
def _curves(
    x: NDArray[np.float64], log: TrainingLog, keys: Sequence[str], clock: str, title: str
) -> Figure:
    picture, (axes,) = figure(4.6, 3.0)
    for number, key in enumerate(keys):
        y = _column(log, key)
        shown = np.isfinite(y) & np.isfinite(x)
        smooth = median_filter(y[shown], size=max(1, len(y) // 40 * 2 + 1), mode="nearest")
        tone, dash = PALETTE[number % len(PALETTE)], DASHES[number % len(DASHES)]
        axes.plot(x[shown], y[shown], color=tone, alpha=0.25, linewidth=0.8)
        single = "o" if np.sum(shown) == 1 else ""
        axes.plot(x[shown], smooth, color=tone, linestyle=dash, marker=single, label=_plain(key))
    axes.set_title(title)
    axes.set_xlabel(_plain(clock))
    if keys == ["kept"]:
        axes.set_ylim(-0.03, 1.03)
    if keys == ["gradient_cosine"]:
        axes.axhline(0, color="#777777", linewidth=0.8)
    if len(keys) > 1:
        picture.legend(ncols=3, loc="outside lower center")
    return picture


def _column(log: TrainingLog, key: str) -> NDArray[np.float64]:
    return np.array([row.get(key, np.nan) for row in log], dtype=np.float64)


def _plain(key: str) -> str:
    return key.replace("_", " ")
