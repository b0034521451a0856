"""Training speed with one and with two processes: `python -m benchmarks.scaling`.

Trains on the same batches with one process and with two under `torchrun`, one thread each, and with
patches streamed from the crops instead of held in memory; the cases alternate. Prints clips per
second and ratios, and writes `docs/results/scaling.json`.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from benchmarks.results import arguments, markdown_table, write_json
from rppg.data.specs import open_datasets
from rppg.models.fcus import FcusNet
from rppg.train import distributed
from rppg.train.clips import HELD_BYTES, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus

CASES = {"one process": (1, HELD_BYTES), "two": (2, HELD_BYTES), "one, streamed": (1, 0)}


def work(batch_size: int, subjects: int, held_bytes: int) -> float:
    """Return the clips per second of one epoch, without its first step."""
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
    """Return the result of `work` under `torchrun`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "benchmarks.scaling", "--work"]
    command += ["--batch-size", str(batch_size), "--subjects", str(subjects)]
    process = subprocess.run(
        [*command, "--held-bytes", str(held_bytes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(process.stdout)


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure, print, write; with `--work`, be one of the measured processes."""
    parser = arguments(__doc__, "scaling")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--held-bytes", type=int, default=HELD_BYTES, help=argparse.SUPPRESS)
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(command_line)
    if options.work:
        with distributed.process_group():
            speed = work(options.batch_size[0], options.subjects, options.held_bytes)
            if distributed.rank() == 0:
                print(speed)
        return
    speeds: dict[str, dict[str, list[float]]] = {}
    for size in options.batch_size:
        by_case = speeds.setdefault(str(size), {name: [] for name in CASES})
        for _ in range(options.repeats):
            for name, (processes, held_bytes) in CASES.items():
                by_case[name].append(measure(processes, held_bytes, size, options.subjects))
    rows = []
    for size, by_case in speeds.items():
        one = median(by_case["one process"])
        for name, values in by_case.items():
            spread = f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
            rows.append([size, name, spread, f"{median(values) / one:.2f}"])
    head = ["batch", "case", "clips per second (lowest–highest)", "relative to one process"]
    print(markdown_table(head, rows))
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "subjects": options.subjects}
    write_json(options.out, {**machine, "clips_per_s": speeds})


if __name__ == "__main__":
    main()
