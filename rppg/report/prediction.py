"""A prediction as a CSV file and as a picture."""

import csv
from pathlib import Path

import numpy as np

from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.predict import Prediction

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def write_rates(path: Path, prediction: Prediction) -> None:
    """Heart rate over time as CSV: `start_s,end_s,hr_bpm,quality`; an unknown rate is empty.

    Raises:
        WriteError: the disk is full, or the path can't be written to.
    """
    course = prediction.course
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["start_s", "end_s", "hr_bpm", "quality"])
        for start, end, hr, index in zip(
            course.start_s, course.end_s, course.hr_bpm, course.quality, strict=True
        ):
            rate = f"{hr:.2f}" if np.isfinite(hr) else ""
            rows.writerow([f"{start:.3f}", f"{end:.3f}", rate, f"{index:.3f}"])


def check_plot_path(path: Path) -> None:
    """Raise InputError where `path` does not end as a plot does."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise InputError(f"{path}: a plot ends in {', '.join(PLOT_SUFFIXES)}")


def plot_prediction(path: Path, prediction: Prediction, *, title: str) -> None:
    """Pulse and heart rate over time as PNG, SVG or PDF.

    Raises:
        InputError: another suffix.
        WriteError: the disk is full, or the path can't be written to.
    """
    check_plot_path(path)
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    course = prediction.course
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
    top.plot(prediction.times_s, prediction.bvp, color="#0072B2", linewidth=1)
    at_beats = np.interp(prediction.beats_s, prediction.times_s, prediction.bvp)
    top.plot(prediction.beats_s, at_beats, ".", color="#D55E00", markersize=5)
    top.set(ylabel="pulse (BVP, a.u.)")
    found = "no heart rate" if np.isnan(prediction.hr_bpm) else f"{prediction.hr_bpm:.1f} bpm"
    top.set_title(
        f"{_drawable(title)}: {found}, quality {prediction.quality:.2f}",
        loc="left",
        parse_math=False,
    )
    middle = (course.start_s + course.end_s) / 2
    dots = bottom.scatter(
        middle, course.hr_bpm, c=course.quality, cmap="cividis", vmin=0, vmax=1, zorder=2
    )
    bottom.plot(middle, course.hr_bpm, color="0.7", linewidth=1, zorder=1)
    bottom.set(xlabel="time (s), middle of the window", ylabel="heart rate (bpm)")
    figure.colorbar(dots, ax=bottom, label="quality")
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=150)
    finally:
        plt.close(figure)


def _drawable(text: str) -> str:
    """The text with what the font lacks, and control characters, as escapes such as `\\u4e2d`."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    known = font.get_charmap()
    return "".join(
        letter
        if letter.isprintable() and ord(letter) in known
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )
