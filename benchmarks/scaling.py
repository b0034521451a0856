"""What a second process gains: `python -m benchmarks.scaling`.

Trains on the same batches with one process and with two under `torchrun`, one thread each, in turn,
and once more with patches streamed from the crops instead of held in memory. Prints clips a
second and ratios, and writes `docs/results/scaling.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rppg.atomic import atomic_path
from rppg.data.specs import open_datasets
from rppg.models.fcus import FcusNet
from rppg.train import distributed
from rppg.train.clips import HELD_BYTES, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus

CASES = {"one process": (1, HELD_BYTES), "two": (2, HELD_BYTES), "one, streamed": (1, 0)}


def work(batch_size: int, subjects: int, held_bytes: int) -> float:
    """Clips a second of one epoch, by the clock of its log; the first step is left out."""
    config = TrainConfig(subjects=subjects, batch_size=batch_size)
    recordings = open_datasets(config.data, split="train", subjects=subjects)
    crops = [recording.load_crops() for recording in recordings]
    clips = cut_clips(
        crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s, held_bytes=held_bytes
    )
    log = fit_fcus(FcusNet(config.model), clips, config)
    seconds = log[-1]["seconds"] - log[0]["seconds"]
    return (log[-1]["clips_seen"] - log[0]["clips_seen"]) / seconds


def measure(processes: int, held_bytes: int, batch_size: int, subjects: int) -> float:
    """`work` under `torchrun`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "benchmarks.scaling", "--work"]
    command += ["--batch-size", str(batch_size), "--subjects", str(subjects)]
    told = subprocess.run(
        [*command, "--held-bytes", str(held_bytes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(told.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write; or, with `--work`, be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--held-bytes", type=int, default=HELD_BYTES, help=argparse.SUPPRESS)
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/scaling.json"))
    given = parser.parse_args(arguments)
    if given.work:
        with distributed.process_group():
            speed = work(given.batch_size[0], given.subjects, given.held_bytes)
            if distributed.rank() == 0:
                print(speed)
        return
    speeds: dict[str, dict[str, list[float]]] = {}
    for size in given.batch_size:
        found = speeds.setdefault(str(size), {name: [] for name in CASES})
        for _ in range(given.repeats):
            for name, (processes, held_bytes) in CASES.items():
                found[name].append(measure(processes, held_bytes, size, given.subjects))
    print("| batch | case | clips a second (lowest–highest) | against one process |")
    print("| --- | --- | --- | --- |")
    for size, found in speeds.items():
        one = median(found["one process"])
        for name, values in found.items():
            spread = f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
            print(f"| {size} | {name} | {spread} | {median(values) / one:.2f} |")
    with atomic_path(given.out) as temporary:
        about = {"machine": platform.machine(), "cpus": os.cpu_count(), "subjects": given.subjects}
        document = {**about, "clips_per_s": speeds}
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
