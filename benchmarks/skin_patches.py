"""Real skin without a face around it: `python -m benchmarks.skin_patches FOLDER`.

FOLDER holds `truth.csv` with the columns `video` and `mean_hr_bpm`, a pulse oximeter's mean over
the video, and the videos it names: patches of foreheads, mostly dark, coded hard. The whole frame
is measured as `rppg predict --full-frame` does, with the shipped checkpoint and with POS. Prints
for each video the heart rate and its quality, and over the windows of all videos how many are
called reliable, and how many of those are within 5 bpm of the mean; writes
`docs/results/skin_patches.json`. Run this on finished work only, never to tune.

The truth is a mean, from which a window may differ by more than 5 bpm and still be right.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.results import arguments, write_json
from benchmarks.study.output import print_table
from rppg.data.reading import column, read_table
from rppg.json_values import finite_or_null
from rppg.predict import Prediction, find_estimator, predict_crops
from rppg.signals import RELIABLE
from rppg.video import read_crops

METHODS = ("fcus", "pos")
RIGHT_BPM = 5.0
"""Error up to which a heart rate is right."""


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "skin_patches")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(command_line)
    truths = read_truth(options.folder / "truth.csv")
    methods = {name: find_estimator(name) for name in METHODS}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    for video, true_bpm in truths.items():
        crops = read_crops(options.folder / video, full_frame=True)
        for name, estimator in methods.items():
            found = predict_crops(crops, estimator, full_frame=True)
            rows[name].append(describe(video, true_bpm, found))
    print_table(
        "Heart rate of each video in bpm (quality)",
        ("video", "oximeter", *METHODS),
        [
            [video, f"{true_bpm:.1f}"]
            + [f"{rows[name][i]['hr_bpm']} ({rows[name][i]['quality']:.2f})" for name in METHODS]
            for i, (video, true_bpm) in enumerate(truths.items())
        ],
    )
    totals = {name: summarise(found) for name, found in rows.items()}
    print_table(
        f"Windows of all videos; right: within {RIGHT_BPM:g} bpm of the video's mean",
        ("method", *next(iter(totals.values()))),
        [[name, *(f"{value:.3g}" for value in total.values())] for name, total in totals.items()],
    )
    write_json(options.out, {"methods": totals, "videos": rows}, allow_nan=False)


def read_truth(table: Path) -> dict[str, float]:
    """Return the mean heart rate in bpm by the name of the video.

    Raises:
        InputError: the table can't be read, or lacks a column.
    """
    rows = read_table(table)
    rates = column(rows, "mean_hr_bpm", table)
    return dict(zip(rows["video"], rates.tolist(), strict=True))


def describe(video: str, true_bpm: float, prediction: Prediction) -> dict[str, Any]:
    """Return what is found in a video, as JSON values."""
    rates = prediction.rates
    right = np.abs(rates.hr_bpm - true_bpm) <= RIGHT_BPM
    reliable = rates.quality >= RELIABLE
    return {
        "video": video,
        "true_bpm": round(true_bpm, 2),
        "hr_bpm": finite_or_null(round(prediction.hr_bpm, 2)),
        "quality": round(prediction.quality, 3),
        "windows": len(rates.hr_bpm),
        "right": int(right.sum()),
        "reliable": int(reliable.sum()),
        "reliable_right": int((reliable & right).sum()),
        "reasons": dict(Counter(reason for reason in prediction.reasons if reason)),
    }


def summarise(videos: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the totals over the windows, and the mean error over the videos with a heart rate."""
    windows, right, reliable, both = (
        sum(video[key] for video in videos)
        for key in ("windows", "right", "reliable", "reliable_right")
    )
    errors = [abs(v["hr_bpm"] - v["true_bpm"]) for v in videos if v["hr_bpm"] is not None]
    return {
        "videos": len(errors),
        "mae_bpm": round(fmean(errors), 2) if errors else 0.0,
        "windows": windows,
        "right": right,
        "reliable": reliable,
        "reliable_right": both,
    }


if __name__ == "__main__":
    main()
