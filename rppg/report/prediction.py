"""A prediction as a CSV file and as a plot."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.predict import Prediction
from rppg.renamed import renamed

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def write_rates(path: Path, prediction: Prediction) -> None:
    """Write heart rate over time as CSV: `start_s,end_s,hr_bpm,quality`; a missing rate is empty.

    Raises:
        WriteError: the disk is full, or the path can't be written to.
    """
    rates = prediction.rates
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["start_s", "end_s", "hr_bpm", "quality"])
        for start, end, hr, index in zip(
            rates.start_s, rates.end_s, rates.hr_bpm, rates.quality, strict=True
        ):
            rate = f"{hr:.2f}" if np.isfinite(hr) else ""
            writer.writerow([f"{start:.3f}", f"{end:.3f}", rate, f"{index:.3f}"])


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
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rates = prediction.rates
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
    top.plot(prediction.times_s, prediction.bvp, color="#0072B2", linewidth=1)
    height_of_beats = np.interp(prediction.beats_s, prediction.times_s, prediction.bvp)
    top.plot(prediction.beats_s, height_of_beats, ".", color="#D55E00", markersize=5)
    top.set(ylabel="pulse (BVP, a.u.)")
    heart_rate = "no heart rate" if np.isnan(prediction.hr_bpm) else f"{prediction.hr_bpm:.1f} bpm"
    top.set_title(
        f"{_drawable(title)}: {heart_rate}, quality {prediction.quality:.2f}",
        loc="left",
        parse_math=False,
    )
    middle_s = (rates.start_s + rates.end_s) / 2
    dots = bottom.scatter(
        middle_s, rates.hr_bpm, c=rates.quality, cmap="cividis", vmin=0, vmax=1, zorder=2
    )
    bottom.plot(middle_s, rates.hr_bpm, color="0.7", linewidth=1, zorder=1)
    bottom.set(xlabel="time (s), middle of the window", ylabel="heart rate (bpm)")
    figure.colorbar(dots, ax=bottom, label="quality")
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=150)
    finally:
        plt.close(figure)


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
    __getattr__ = renamed(__name__, {"write_course": "rppg.report.prediction.write_rates"})
