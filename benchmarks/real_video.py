"""Every method on a clip of a real face: `python -m benchmarks.real_video FOLDER`.

FOLDER holds `video.mp4` and `vitals.csv` with a contact PPG in its column `ppg`, one row per frame.
Runs every method, the untrained network and the shipped checkpoint on the whole clip and in windows
of 5 s every second, through the default protocol. Prints heart rates, and the correlation with the
PPG of the measured wave, of the wave that `rppg predict` refines, and of the best sine; writes
`docs/results/real_video.json`. `adapted` is the shipped checkpoint after one epoch without labels
on the clip itself, with settings that were fixed before it was opened; its weights aren't saved.
Run this on finished work only, never to tune: it is one short clip.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import classical_methods
from benchmarks.refined_wave import correlations
from benchmarks.results import arguments, write_json
from rppg.data.reading import column, read_table
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.find import load_estimator
from rppg.evaluation import Estimator, Protocol, evaluate
from rppg.models.checkpoint import load_checkpoint
from rppg.predict import predict_crops
from rppg.train.clips import cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.types import Pulse, Recording
from rppg.video import read_crops

TRACK = Protocol(window_s=5.0, stride_s=1.0)
ADAPTATION = TrainConfig(data=(), clip_s=5.0, stride_s=1.0)
"""Shorter clips than the defaults, closer together, for a video of 12 s."""


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "real_video")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    recording = open_clip(options.folder)
    methods: dict[str, Estimator] = {
        "fcus": load_estimator(),
        "adapted": adapted(recording),
        "untrained": untrained(),
    }
    methods |= classical_methods()
    methods = {name: computed_once(estimator) for name, estimator in methods.items()}
    evaluation = evaluate([recording], methods, TRACK)
    if evaluation.failures:
        raise RuntimeError("; ".join(failure.reason for failure in evaluation.failures))
    results = {}
    for clip in evaluation.clips:
        track = [abs(row.error_bpm) for row in evaluation.windows if row.method == clip.method]
        prediction = predict_crops(recording.load_crops(), methods[clip.method])
        ((_, refined, _),) = correlations(recording, prediction)
        results[clip.method] = {
            "hr_bpm": round(clip.hr_pred_bpm, 2),
            "error_bpm": round(clip.error_bpm, 2),
            "track_mae_bpm": round(float(np.mean(track)), 2),
            "correlation": round(clip.correlation, 3),
            "refined_correlation": round(refined, 3),
            "beat_error_ms": round(clip.beat_error_ms, 1),
            "snr_db": round(clip.snr_db, 1),
        }
    truth = evaluation.clips[0]
    summary = {
        "truth_bpm": round(truth.hr_true_bpm, 2),
        "best_sine_correlation": round(truth.sine_correlation, 3),
        "windows": sum(row.method == truth.method for row in evaluation.windows),
    }
    print(summary)
    for name, row in results.items():
        print(f"{name:10} " + "  ".join(f"{key} {value}" for key, value in row.items()))
    write_json(options.out, {**summary, "methods": results})


def computed_once(estimator: Estimator) -> Estimator:
    """Return an estimator that reuses its result when it gets the same frames again."""
    results: list[tuple[NDArray[np.float32], NDArray[np.float64]]] = []

    def estimate(frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        for known, bvp in results:
            if np.array_equal(frames, known):
                return bvp
        results.append((frames, estimator(frames, fps)))
        return results[-1][1]

    return estimate


def adapted(recording: Recording) -> FcusEstimator:
    """Return the shipped network after one epoch on the clip."""
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
    """Return the clip with its PPG on the frames' own clock."""
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
