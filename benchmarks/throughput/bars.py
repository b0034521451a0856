"""The bars for speed and memory, as ratios of medians taken in one run.

Machines differ by a factor of two, so each bar is relative to something that runs in turn with it:
the decoding of the same video to RGB by the same library, or `import torch`.
"""

import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.study.output import Claim

CLIP_S = 5.5
FILE_TO_RATE, START_UP, PEAK_MB, GROWTH_MB = 1.15, 2.0, 250.0, 10.0
TORCH = [
    sys.executable,
    "-c",
    "import torch; from benchmarks.throughput.process import memory_mb, print_json; "
    "print_json({'peak_mb': memory_mb('VmHWM')})",
]

Run = Callable[..., dict[str, Any]]


def measure_bars(run: Run, minute: Path, long: Path, rounds: int) -> dict[str, list[float]]:
    """Return the values of each round, by name.

    Args:
        run: runs one of this benchmark's programs and returns its numbers.
        minute: a video of a minute.
        long: the same people for longer, of which memory is measured once.
    """
    ours = [sys.executable, "-m", "benchmarks.throughput.ours"]
    predict = [sys.executable, "-m", "rppg", "predict", str(minute), "--duration", str(CLIP_S)]
    values: dict[str, list[float]] = {
        name: [] for name in ("decode_ms", "whole_ms", "torch_s", "predict_s", "torch_mb")
    }
    peaks = []
    for _ in range(rounds):
        values["decode_ms"].append(run([*ours, "bare", str(minute)])["wall_ms"])
        whole = run([*ours, "whole", str(minute)])
        values["whole_ms"].append(whole["wall_ms"])
        peaks.append(whole["imports_mb"] + whole["peak_mb"])
        values["torch_mb"].append(run(TORCH)["peak_mb"])
        values["torch_s"].append(cpu_s([sys.executable, "-c", "import torch"]))
        values["predict_s"].append(cpu_s(predict))
    whole = run([*ours, "whole", str(long)])
    return {**values, "minute_mb": peaks, "long_mb": [whole["imports_mb"] + whole["peak_mb"]]}


def cpu_s(command: list[str]) -> float:
    """Return the CPU time of all threads of a command, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def find_claims(values: Mapping[str, list[float]], peaks_mb: Mapping[str, float]) -> list[Claim]:
    """Return the claims and whether they hold.

    Args:
        values: as from `measure_bars`.
        peaks_mb: peak memory of other videos in MB, by their names, to be named beside.
    """
    median = {name: statistics.median(numbers) for name, numbers in values.items()}
    whole, decode = median["whole_ms"], median["decode_ms"]
    predict, torch = median["predict_s"], median["torch_s"]
    above = max(median["minute_mb"], median["long_mb"]) - median["torch_mb"]
    larger = "".join(f"; {name}: {mb - median['torch_mb']:.0f} MB" for name, mb in peaks_mb.items())
    growth = median["long_mb"] - median["minute_mb"]
    return [
        Claim(
            f"from a file of a minute at 640×480 to its heart rate in at most {FILE_TO_RATE:g} × "
            "the time of decoding it to RGB with the same library",
            f"{whole / decode:.2f} × ({whole:.2f} ms per frame, decoding {decode:.2f})",
            whole <= FILE_TO_RATE * decode,
        ),
        Claim(
            f"`rppg predict` of {CLIP_S:g} s at 640×480 in at most {START_UP:g} × the CPU time of "
            "`import torch`",
            f"{predict / torch:.2f} × ({predict:.2f} s, torch {torch:.2f} s)",
            predict <= START_UP * torch,
        ),
        Claim(
            f"peak memory at 640×480 at most {PEAK_MB:g} MB above `import torch`",
            f"{above:.0f} MB{larger}",
            above <= PEAK_MB,
        ),
        Claim(
            f"peak memory is flat in the length: at most {GROWTH_MB:g} MB more for ten minutes "
            "than for one",
            f"{growth:+.0f} MB",
            growth <= GROWTH_MB,
        ),
    ]
