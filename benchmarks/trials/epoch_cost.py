"""Cost of one epoch of FCUS-rPPG, measured in a separate process.

Wall-clock and CPU seconds of an epoch of 200 clips or more on two threads, peak memory including
everything that is imported, number of parameters, and each level's share of the time: one minus the
time without it over the time with all three, medians over rounds on some of the clips.
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

from benchmarks.throughput.process import memory_mb, print_json
from benchmarks.trials.fcus import Stopwatch, clips_of, new_network
from benchmarks.trials.key import CODE_DIGESTS
from benchmarks.trials.store import cost_store
from benchmarks.trials.trial_settings import LEVELS
from rppg.train.clips import ClipSet
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus

SOURCE = "webcam"
THREADS = 2


def epoch_cost(folder: Path, *, subjects: int, rounds: int, part: int) -> dict[str, Any]:
    """Return what `measure` finds, from the store if the same code has measured it before.

    Args:
        folder: of the single files, see `cost_store`.
    """
    store, numbers = cost_store(folder), [str(subjects), str(rounds), str(part)]
    name, key, code = "cost", "-".join(numbers), CODE_DIGESTS["epoch_cost"]
    stored = store.load(name, key, code)
    if stored is not None:
        return stored["cost"]
    # Threads beyond those asked for would count as memory and as noise.
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.trials.epoch_cost", *numbers],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    cost = json.loads(process.stdout.strip().splitlines()[-1])
    store.save(name, {"key": key, "code": code, "cost": cost})
    return cost


def measure(subjects: int, rounds: int, part: int) -> dict[str, Any]:
    """Train one epoch on `subjects`, then each setting `rounds` times on `part` of the clips."""
    torch.set_num_threads(THREADS)
    config = TrainConfig(data=(f"synthetic:{SOURCE}",), subjects=subjects)
    started = time.monotonic()
    clip_set, _, _ = clips_of(SOURCE, subjects, config.clip_s, config.stride_s, config.model)
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
    """Return wall-clock and CPU seconds of one epoch."""
    net = new_network(config)
    watch = Stopwatch()
    fit_fcus(net, clip_set, config)
    with watch.paused():
        return watch.wall_s, watch.cpu_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("subjects", "rounds", "part"):
        parser.add_argument(name, type=int)
    print_json(measure(**vars(parser.parse_args())))
