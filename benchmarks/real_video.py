"""Does it work on a real face? `python -m benchmarks.real_video FOLDER`.

FOLDER holds `video.mp4` and `vitals.csv` with a contact PPG in its column `ppg`, one row a frame.
Every method, the untrained network and the shipped checkpoint on the whole clip and in windows of
5 s every second, through the default protocol. Prints heart rates, and the correlation of the waves
as measured, and as `rppg predict` refines them, beside that of the best sine; writes
`docs/results/real_video.json`. `adapted` is the shipped checkpoint after one epoch without labels
on the clip itself, with settings that were fixed before it was opened; what it learns is thrown
away. One short clip: to be run at the end of a piece of work, never to tune on.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.refined_wave import correlations
from rppg.atomic import atomic_path
from rppg.data.reading import column, read_table
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.find import load_estimator
from rppg.evaluation import Estimator, Protocol, classical, evaluate
from rppg.methods import METHODS
from rppg.models.checkpoint import load_checkpoint
from rppg.train.clips import cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.types import Pulse, Recording
from rppg.video import read_crops

TRACK = Protocol(window_s=5.0, stride_s=1.0)
ADAPTATION = TrainConfig(data=(), clip_s=5.0, stride_s=1.0)
"""Shorter clips than the defaults, closer together, for a video of 12 s; all else as ever."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/real_video.json"))
    options = parser.parse_args()
    recording = open_clip(options.folder)
    methods: dict[str, Estimator] = {
        "fcus": load_estimator(),
        "adapted": adapted(recording),
        "untrained": untrained(),
    }
    methods |= {name: classical(name) for name in METHODS}
    found = evaluate([recording], methods, TRACK)
    if found.failures:
        raise RuntimeError("; ".join(failure.reason for failure in found.failures))
    results = {}
    for clip in found.clips:
        track = [abs(row.error_bpm) for row in found.windows if row.method == clip.method]
        ((_, refined, _),) = correlations(recording, methods[clip.method])
        results[clip.method] = {
            "hr_bpm": round(clip.hr_pred_bpm, 2),
            "error_bpm": round(clip.error_bpm, 2),
            "track_mae_bpm": round(float(np.mean(track)), 2),
            "correlation": round(clip.correlation, 3),
            "refined_correlation": round(refined, 3),
            "beat_error_ms": round(clip.beat_error_ms, 1),
            "snr_db": round(clip.snr_db, 1),
        }
    truth = found.clips[0]
    summary = {
        "truth_bpm": round(truth.hr_true_bpm, 2),
        "best_sine_correlation": round(truth.sine_correlation, 3),
        "windows": sum(row.method == truth.method for row in found.windows),
    }
    print(summary)
    for name, row in results.items():
        print(f"{name:10} " + "  ".join(f"{key} {value}" for key, value in row.items()))
    with atomic_path(options.out) as temporary:
        text = json.dumps({**summary, "methods": results}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def adapted(recording: Recording) -> FcusEstimator:
    """The shipped network after one epoch on the clip."""
    net, _ = load_checkpoint()
    clip_set = cut_clips(
        [recording.load_crops()],
        net.config,
        clip_s=ADAPTATION.clip_s,
        stride_s=ADAPTATION.stride_s,
    )
    fit_fcus(net, clip_set, ADAPTATION)
    return FcusEstimator(net)


def open_clip(folder: Path) -> Recording:
    """The clip with its PPG on the frames' own clock."""
    table = folder / "vitals.csv"
    ppg = column(read_table(table), "ppg", table)
    crops = read_crops(folder / "video.mp4")
    if len(ppg) != len(crops.times_s):
        raise ValueError(f"{table}: {len(ppg)} rows for {len(crops.times_s)} frames")
    return Recording(
        name=folder.name,
        dataset=folder.name,
        subject=folder.name,
        load_crops=lambda: crops,
        load_truth=lambda: Pulse(crops.times_s, ppg),
    )


if __name__ == "__main__":
    main()
