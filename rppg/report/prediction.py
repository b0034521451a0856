"""A prediction as a CSV file and as a plot."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.predict import Prediction
from rppg.renamed import renamed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
LEAST_RANGE_BPM = 20.0
"""Minimum range of the plot's heart rate axis: a smaller one would magnify noise."""


def write_rates(path: Path, prediction: Prediction) -> None:
    """Write heart rate over time as CSV: one row per window.

    The columns are `start_s,end_s,hr_bpm,quality,reason`. A missing rate is empty, and so is the
    reason why a rate is unreliable where it is reliable.

    Raises:
        WriteError: the disk is full, or the path can't be written to.
    """
    rates = prediction.rates
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["start_s", "end_s", "hr_bpm", "quality", "reason"])
        reasons = prediction.reasons or [None] * len(rates.quality)
        for start, end, hr, index, reason in zip(
            rates.start_s, rates.end_s, rates.hr_bpm, rates.quality, reasons, strict=True
        ):
            rate = f"{hr:.2f}" if np.isfinite(hr) else ""
            writer.writerow([f"{start:.3f}", f"{end:.3f}", rate, f"{index:.3f}", reason or ""])


def check_plot_path(path: Path) -> None:
    """Raise an InputError if the suffix of `path` is not that of a plot."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise InputError(f"{path}: a plot ends in {', '.join(PLOT_SUFFIXES)}")


def plot_prediction(path: Path, prediction: Prediction, *, title: str) -> None:
    """Plot pulse and heart rate over time as PNG, SVG or PDF.

    Raises:
        InputError: another suffix.
        WriteError: the disk is full, or the path can't be written to.
    """
    check_plot_path(path)
    figure = prediction_figure(prediction, title=title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def prediction_figure(prediction: Prediction, *, title: str) -> "Figure":
    """Draw pulse and heart rate over time.

    The beats are drawn on the measured wave, in which they were found; the refined wave is behind.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    times_s, wave = prediction.times_s, prediction.measured
    top.plot(times_s, prediction.bvp, color="#56B4E9", linewidth=3, alpha=0.6, label="refined")
    top.plot(times_s, wave, color="#0072B2", linewidth=1, label="measured")
    height = np.interp(prediction.beats_s, times_s, wave)
    top.plot(prediction.beats_s, height, ".", color="#D55E00", markersize=6, label="beats")
    top.set(ylabel="pulse (BVP, a.u.)")
    figure.legend(ncols=3, loc="outside upper right", frameon=False)
    heart_rate = "no heart rate" if np.isnan(prediction.hr_bpm) else f"{prediction.hr_bpm:.1f} bpm"
    note = f"\n{prediction.reason}" if prediction.reason else ""
    top.set_title(
        f"{_drawable(title)}: {heart_rate}, quality {prediction.quality:.2f}{note}",
        loc="left",
        parse_math=False,
    )
    rates = prediction.rates
    middle_s = (rates.start_s + rates.end_s) / 2
    dots = bottom.scatter(
        middle_s, rates.hr_bpm, c=rates.quality, cmap="cividis", vmin=0, vmax=1, zorder=2
    )
    bottom.plot(middle_s, rates.hr_bpm, color="0.7", linewidth=1, zorder=1)
    drawn_bpm = rates.hr_bpm
    if prediction.continuous is not None:
        path_bpm = prediction.continuous.hr_bpm
        bottom.plot(middle_s, path_bpm, color="#D55E00", linewidth=1, zorder=3, label="continuous")
        bottom.legend(loc="best", frameon=False)
        drawn_bpm = np.concatenate([drawn_bpm, path_bpm])
    bottom.set(xlabel="time (s), middle of the window", ylabel="heart rate (bpm)")
    bottom.set_ylim(*_rate_limits(drawn_bpm))
    figure.colorbar(dots, ax=bottom, label="quality")
    return figure


def _rate_limits(hr_bpm: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits of the heart rate axis around the rates, at least `LEAST_RANGE_BPM` apart."""
    finite = hr_bpm[np.isfinite(hr_bpm)]
    if len(finite) == 0:
        return 40.0, 120.0
    low, high = float(finite.min()), float(finite.max())
    half = max(0.55 * (high - low), LEAST_RANGE_BPM / 2)
    return (low + high) / 2 - half, (low + high) / 2 + half


def _drawable(text: str) -> str:
    """Replace characters that the font lacks, and control characters, by escapes: `\\u4e2d`."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    charmap = font.get_charmap()
    return "".join(
        letter
        if letter.isprintable() and ord(letter) in charmap
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"write_course": (f"{__name__}.write_rates", write_rates)})
