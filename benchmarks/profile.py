"""Profiles of training and prediction: `python -m benchmarks.profile`.

Profiles one epoch (`synthetic:webcam`, 60 subjects) and one prediction (a rendered video of 20 s,
320×240), on one thread. Prints the share of each stage and the functions with the largest own time;
writes `docs/results/profile.json`.
"""

import cProfile
import os
import platform
import pstats
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import gradreg
from benchmarks.results import arguments, markdown_table, write_json
from rppg.models.fcus import FcusNet
from rppg.predict import Prediction, predict
from rppg.synthetic.scene import write_scene
from rppg.train import clips, optimizer
from rppg.train.config import TrainConfig
from rppg.train.objective import objective
from rppg.train.recordings import open_recordings
from rppg.train.run import train


def name_of(function: Any) -> tuple[str, str]:
    """Return a function's file and name, by which the profiler lists it."""
    return Path(function.__code__.co_filename).name, function.__code__.co_name


STAGES = {
    "reading crops, making patches": name_of(clips.cut_clips),
    "drawing and playing clips": name_of(clips._play),
    "network": name_of(FcusNet.forward),
    "mask": name_of(gradreg.PostVerificationMask.verify),
    "objective": name_of(objective),
    "backward pass": ("~", "<method 'run_backward' of 'torch._C._EngineBase' objects>"),
    "projector": name_of(gradreg.NullSpaceProjector.after_update),
    "noise for the projector": name_of(optimizer.observe_background),
}
"""Functions, none called by another, whose total time is a stage's."""


def profiled(work: Callable[[], object]) -> tuple[float, pstats.Stats]:
    """Return the wall-clock seconds of a call, and its profile."""
    profile = cProfile.Profile()
    started = time.perf_counter()
    profile.runcall(work)
    return time.perf_counter() - started, pstats.Stats(profile)


def functions(stats: pstats.Stats) -> Mapping[tuple[str, str], tuple[int, float, float]]:
    """Return calls, own seconds and total seconds by file and name."""
    totals: dict[tuple[str, str], tuple[int, float, float]] = {}
    for (file, _, name), (_, calls, own, whole, _) in stats.stats.items():  # type: ignore[attr-defined]
        key = Path(file).name, name
        before = totals.get(key, (0, 0.0, 0.0))
        totals[key] = before[0] + calls, before[1] + own, before[2] + whole
    return totals


def summary(seconds: float, stats: pstats.Stats, most: int = 12) -> dict[str, Any]:
    """Return the total time, and the functions with the largest own time."""
    ordered = sorted(functions(stats).items(), key=lambda item: -item[1][1])[:most]
    return {
        "seconds": round(seconds, 3),
        "functions": [
            {"function": f"{file}:{name}", "calls": calls, "share": round(own / seconds, 4)}
            for (file, name), (calls, own, _) in ordered
        ],
    }


def show(title: str, stages: Mapping[str, float], document: Mapping[str, Any]) -> None:
    """Print the stages and the functions of one profile."""
    print(f"\n{title}: {document['seconds']:.2f} s\n")
    print(markdown_table(("stage", "share"), [(n, f"{share:.0%}") for n, share in stages.items()]))
    rows = [
        (f"`{row['function']}`", row["calls"], f"{row['share']:.1%}")
        for row in document["functions"]
    ]
    print("\n" + markdown_table(("function, own time", "calls", "share"), rows))


def main(command_line: Sequence[str] | None = None) -> None:
    """Profile, print, write."""
    parser = arguments(__doc__, "profile")
    parser.add_argument("--subjects", type=int, default=60)
    options = parser.parse_args(command_line)
    torch.set_num_threads(1)
    config = TrainConfig(subjects=options.subjects)
    recordings = open_recordings(
        config.data, config.subjects, cache=True, workers=1, loading=None
    )  # rendering is not measured
    small = config.model_copy(update={"subjects": 2})
    train(small, recordings=recordings[:2])  # imports aren't, either
    seconds, stats = profiled(lambda: train(config, recordings=recordings))
    totals = functions(stats)
    shares = {name: totals[key][2] / seconds for name, key in STAGES.items() if key in totals}
    shares["rest"] = 1 - sum(shares.values())
    epoch = {**summary(seconds, stats), "stages": shares}
    show("One epoch", shares, epoch)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "face.mp4"
        write_scene("webcam", 0, video, duration_s=20.0)
        predict(video)
        predictions: list[Prediction] = []
        seconds, stats = profiled(lambda: predictions.append(predict(video)))
    stages = {name: s / seconds for name, s in predictions[0].seconds.items()}
    prediction = {**summary(seconds, stats), "stages": stages}
    show("One prediction", stages, prediction)
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "torch": torch.__version__}
    write_json(options.out, {**machine, "epoch": epoch, "prediction": prediction})


if __name__ == "__main__":
    main()
