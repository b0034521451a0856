"""Where the time goes: `python -m benchmarks.profile`.

Profiles one epoch (`synthetic:webcam`, 60 people) and one prediction (a rendered video of 20 s,
640×480), on one thread. Prints the share of each stage and the functions that take most by
themselves, and writes `docs/results/profile.json`.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rppg.atomic import atomic_path
from rppg.predict import Prediction, predict
from rppg.synthetic.scene import write_scene
from rppg.train.config import TrainConfig
from rppg.train.recordings import open_recordings
from rppg.train.run import train

STAGES = {
    "reading crops, making patches": ("clips.py", "cut_clips"),
    "drawing and playing clips": ("clips.py", "_play"),
    "network": ("fcus.py", "forward"),
    "mask": ("masking.py", "verify"),
    "objective": ("objective.py", "objective"),
    "backward pass": ("~", "<method 'run_backward' of 'torch._C._EngineBase' objects>"),
    "projector": ("projection.py", "after_update"),
    "noise for the projector": ("optimizer.py", "observe_background"),
}
"""Functions, none within another, whose whole time is a stage's."""


def profiled(work: Callable[[], object]) -> tuple[float, pstats.Stats]:
    """Wall-clock seconds of some work, and its profile."""
    profile = cProfile.Profile()
    began = time.perf_counter()
    profile.runcall(work)
    return time.perf_counter() - began, pstats.Stats(profile)


def functions(stats: pstats.Stats) -> Mapping[tuple[str, str], tuple[int, float, float]]:
    """Calls, own and whole seconds by file and name."""
    found: dict[tuple[str, str], tuple[int, float, float]] = {}
    for (file, _, name), (_, calls, own, whole, _) in stats.stats.items():  # type: ignore[attr-defined]
        key = Path(file).name, name
        before = found.get(key, (0, 0.0, 0.0))
        found[key] = before[0] + calls, before[1] + own, before[2] + whole
    return found


def told(seconds: float, stats: pstats.Stats, most: int = 12) -> dict[str, Any]:
    """What a profile says: whole time, the functions that take most by themselves."""
    ordered = sorted(functions(stats).items(), key=lambda item: -item[1][1])[:most]
    return {
        "seconds": round(seconds, 3),
        "functions": [
            {"function": f"{file}:{name}", "calls": calls, "share": round(own / seconds, 4)}
            for (file, name), (calls, own, _) in ordered
        ],
    }


def show(title: str, stages: Mapping[str, float], document: Mapping[str, Any]) -> None:
    """Print the stages and the functions of one piece of work."""
    print(f"\n{title}: {document['seconds']:.2f} s\n\n| stage | share |\n| --- | --- |")
    for name, share in stages.items():
        print(f"| {name} | {share:.0%} |")
    print("\n| function, by itself | calls | share |\n| --- | --- | --- |")
    for row in document["functions"]:
        print(f"| `{row['function']}` | {row['calls']} | {row['share']:.1%} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("docs/results/profile.json"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = TrainConfig(subjects=given.subjects)
    recordings = open_recordings(
        config.data, config.subjects, cache=True, workers=1, loading=None
    )  # rendering is not what is measured
    train(config.model_copy(update={"subjects": 2}), recordings=recordings[:2])  # nor are imports
    seconds, stats = profiled(lambda: train(config, recordings=recordings))
    found = functions(stats)
    shares = {name: found[key][2] / seconds for name, key in STAGES.items() if key in found}
    shares["rest"] = 1 - sum(shares.values())
    epoch = {**told(seconds, stats), "stages": shares}
    show("One epoch", shares, epoch)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "face.mp4"
        write_scene("webcam", 0, video, duration_s=20.0)
        predict(video)
        found_pulse: list[Prediction] = []
        seconds, stats = profiled(lambda: found_pulse.append(predict(video)))
    stages = {name: s / seconds for name, s in found_pulse[0].seconds.items()}
    prediction = {**told(seconds, stats), "stages": stages}
    show("One prediction", stages, prediction)
    about = {"machine": platform.machine(), "cpus": os.cpu_count(), "torch": torch.__version__}
    with atomic_path(given.out) as temporary:
        document = {**about, "epoch": epoch, "prediction": prediction}
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
