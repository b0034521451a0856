"""Figures of an evaluation: waveforms against truth, heart rate over time, Bland-Altman."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rppg.evaluation import Row, Waveform
from rppg.evaluation.metrics import BlandAltman, bland_altman
from rppg.report.figure_style import MARKERS, PALETTE, TRUTH, colour, in_house_style, new_figure
from rppg.signals import rate_series

Array = NDArray[np.float64]

SHOWN_S = 10.0
MOST_MARKS = 2000
"""Dots of a figure that are drawn one by one; more become an image within it."""
MANY_MARKS = 500
"""From so many on, they are small."""


@in_house_style
def waveform_figure(examples: Sequence[Waveform], methods: Sequence[str], title: str) -> Figure:
    """Draw each method's BVP over the truth: ten seconds in the middle of a recording."""
    times = examples[0].times_s
    middle = (times[0] + times[-1]) / 2
    part = np.abs(times - middle) <= SHOWN_S / 2
    figure, axes = new_figure(4.6, 0.55 + 0.95 * len(examples), rows=len(examples))
    for panel, example in zip(axes, examples, strict=True):
        panel.plot(
            times[part], _standardised(example.bvp_true[part]), color=TRUTH, alpha=0.4, linewidth=2
        )
        tone = colour(methods, example.method)
        panel.plot(times[part], _standardised(example.bvp_pred[part]), color=tone, linewidth=1.3)
        panel.set_title(example.method, color=tone, fontweight="bold", pad=2)
        panel.set_yticks([])
        panel.set_ylim(-3.2, 3.2)
    axes[-1].set_xlabel("time (s)")
    figure.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return figure


@in_house_style
def rate_figure(examples: Sequence[Waveform], methods: Sequence[str], title: str) -> Figure | None:
    """Draw the heart rate of a recording in windows of 10 s, one every second; None if shorter."""
    times = examples[0].times_s
    fps = (len(times) - 1) / (times[-1] - times[0])
    truth = rate_series(examples[0].bvp_true, fps)
    if len(truth.start_s) == 0:
        return None
    middle_s = times[0] + (truth.start_s + truth.end_s) / 2
    figure, (axes,) = new_figure(4.6, 3.0)
    axes.plot(middle_s, truth.hr_bpm, color=TRUTH, linewidth=4, alpha=0.4, label="truth")
    for example in examples:
        rates = rate_series(example.bvp_pred, fps)
        index = methods.index(example.method)
        axes.plot(
            middle_s,
            rates.hr_bpm,
            color=colour(methods, example.method),
            marker=MARKERS[index % len(MARKERS)],
            markersize=3.5,
            linewidth=1.2,
            label=example.method,
        )
    low, high = axes.get_ylim()
    centre = (low + high) / 2
    axes.set_ylim(min(low, centre - 10), max(high, centre + 10))
    axes.set_xlabel("middle of the window (s)")
    axes.set_ylabel("heart rate (bpm)")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@in_house_style
def bland_altman_figure(rows: Sequence[Row], methods: Sequence[str], title: str) -> Figure | None:
    """Draw a method's error against the mean of prediction and truth; None without estimates."""
    true = np.array([row.hr_true_bpm for row in rows])
    predicted = np.array([row.hr_pred_bpm for row in rows])
    defined = np.isfinite(true) & np.isfinite(predicted)
    true, predicted = true[defined], predicted[defined]
    if len(true) == 0:
        return None
    agreement = bland_altman(true, predicted)
    index = methods.index(rows[0].method)
    return agreement_figure({"": (true, predicted)}, agreement, title, first_colour=index)


@in_house_style
def agreement_figure(
    groups: Mapping[str, tuple[Array, Array]],
    agreement: BlandAltman,
    title: str,
    *,
    first_colour: int = 0,
) -> Figure:
    """Draw errors against the mean of prediction and truth, with bias and limits.

    Args:
        groups: true and predicted heart rates in bpm, both `(n,)` and finite, by the group's name
            in the legend; each has a colour and marker of its own.
        agreement: the lines.
        title: of the figure.
        first_colour: index of the first group's colour.
    """
    figure, (axes,) = new_figure(
        3.8, 3.0 if len(groups) == 1 else 3.0 + 0.2 * ((len(groups) + 1) // 2)
    )
    count = sum(len(true) for true, _ in groups.values())
    axes.axhline(0, color="#777777", linewidth=0.8)
    for index, (name, (true, predicted)) in enumerate(groups.items()):
        axes.scatter(
            (true + predicted) / 2,
            predicted - true,
            s=16 if count < MANY_MARKS else 5,
            color=PALETTE[(first_colour + index) % len(PALETTE)],
            marker=MARKERS[index % len(MARKERS)],
            alpha=0.55,
            linewidths=0,
            rasterized=count > MOST_MARKS,
            label=name,
        )
    lines = ((agreement.bias_bpm, "solid"), (agreement.low_bpm, "--"), (agreement.high_bpm, "--"))
    for level, dash in lines:
        if np.isfinite(level):
            axes.axhline(level, color=TRUTH, linestyle=dash, linewidth=1)
            axes.annotate(
                f"{level:+.1f}".replace("-", "−"),
                (1, level),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            )
    errors = [value for true, predicted in groups.values() for value in predicted - true]
    limit = 1.25 * max(3.0, float(np.nanmax(np.abs([*errors, *(level for level, _ in lines)]))))
    axes.set_ylim(-limit, limit)
    axes.set_xlabel("mean of predicted and true (bpm)")
    axes.set_ylabel("predicted − true (bpm)")
    axes.set_title(title)
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=2, markerscale=1.5)
    return figure


def _standardised(x: Array) -> Array:
    """Scale to mean 0 and deviation 1; a constant or non-finite signal becomes NaN, not drawn."""
    deviation = float(np.std(x))
    return (x - np.mean(x)) / deviation if deviation > 0 else np.full_like(x, np.nan)
