"""What one epoch of FCUS-rPPG costs, measured in a process of its own: `python -m ...claims.cost`.

Wall-clock and CPU seconds of an epoch of 200 clips or more on two threads, memory at its peak with
everything that is imported, parameters, and the share of the time that each level takes: one minus
the time without it over the time with all three, medians of some rounds on a part of the clips.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.claims.fcus import Stopwatch, clips_of, new_network
from benchmarks.claims.runs import CODE, LEVELS, code_digest
from benchmarks.throughput.process import memory_mb, tell
from rppg.atomic import atomic_path
from rppg.train.clips import ClipSet
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus

SOURCE = "webcam"
THREADS = 2


def cost(folder: Path, *, subjects: int, rounds: int, part: int) -> dict[str, Any]:
    """What was measured, or what is kept of the same code; see `measure`."""
    digest = code_digest("benchmarks/claims/cost.py", *CODE["fcus"])
    path = folder / f"cost-{subjects}-{rounds}-{part}-{digest}.json"
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.claims.cost"]
        numbers = [str(subjects), str(rounds), str(part)]
        # Threads beyond the cores that are asked for would count as memory and as noise.
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        done = subprocess.run(
            [*command, *numbers], capture_output=True, text=True, check=True, env=environment
        )
        with atomic_path(path) as temporary:
            temporary.write_text(done.stdout.strip().splitlines()[-1] + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def measure(subjects: int, rounds: int, part: int) -> dict[str, Any]:
    """Train one epoch on `subjects`, then each setting `rounds` times on `part` of the clips."""
    torch.set_num_threads(THREADS)
    config = TrainConfig(data=(f"synthetic:{SOURCE}",), subjects=subjects)
    started = time.monotonic()
    args = (SOURCE, subjects, config.clip_s, config.stride_s, config.model)
    clip_set, _, _ = clips_of(*args)
    read_s = time.monotonic() - started
    epoch_s, epoch_cpu_s = _timed(clip_set, config)
    peak_mb = memory_mb("VmHWM")
    few = ClipSet(clip_set.spans, clip_set.clips[:part], clip_set.frames)
    settings = {"all": config} | {
        level: config.model_copy(update={level: None}) for level in LEVELS
    }
    times: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(rounds):
        for name, setting in settings.items():
            times[name].append(_timed(few, setting)[1])
    whole = median(times["all"])
    return {
        "source": SOURCE,
        "subjects": subjects,
        "clips": len(clip_set.clips),
        "threads": THREADS,
        "read_and_cut_s": read_s,
        "epoch_s": epoch_s,
        "epoch_cpu_s": epoch_cpu_s,
        "peak_mb": peak_mb,
        "parameters": sum(p.numel() for p in new_network(config).parameters()),
        "share_of_cpu_time": {level: 1 - median(times[level]) / whole for level in LEVELS},
        "rounds": rounds,
        "clips_a_round": len(few.clips),
    }


def _timed(clip_set: ClipSet, config: TrainConfig) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one epoch."""
    net = new_network(config)
    watch = Stopwatch()
    fit_fcus(net, clip_set, config)
    with watch.paused():
        return watch.wall_s, watch.cpu_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("subjects", "rounds", "part"):
        parser.add_argument(name, type=int)
    tell(measure(**vars(parser.parse_args())))
