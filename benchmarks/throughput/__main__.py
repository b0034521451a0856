"""How fast, and in how much memory, from a file to a heart rate: `python -m benchmarks.throughput`.

Each run is a process of its own: start-up (interpreter, imports, checkpoint), then `predict` once,
with wall-clock and CPU time a frame and the memory at its peak above that after the imports; then
the stages, each with all before it. Beside it `open-rppg` from PyPI, in an environment that is made
on first use. Videos: the real clip (its speed only; no heart rate is looked at), five minutes at
1280 × 720, and with `--long` 3 and 30 minutes at 1920 × 1080. Writes
`docs/results/throughput.json` and the tables of `docs/throughput.md`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

from benchmarks.throughput.videos import long_video
from rppg.atomic import atomic_path
from rppg.synthetic.cache import cache_folder
from rppg.video import probe

PAGE = Path("docs/throughput.md")
MARK = "<!-- tables: python -m benchmarks.throughput --long -->"
REAL = Path("../shared/data/real-face-1/video.mp4")
PEER, PEER_VERSION = "open-rppg", "0.1.1"
MODELS = ("FacePhys.rlap", "PhysNet.rlap")
"""The peer's default network, and the one whose architecture others publish speeds of."""
STAGES_S = 30.0

Run = dict[str, Any]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="also 1920 × 1080, half an hour")
    parser.add_argument("--no-peer", action="store_true", help="without open-rppg")
    parser.add_argument("--out", type=Path, default=Path("docs/results/throughput.json"))
    options = parser.parse_args()
    videos = {"720p, 5 min": long_video(1280, 720, 5)}
    if REAL.exists():
        videos = {"real clip, 480p, 12 s": REAL, **videos}
    peer, missing = (None, "not asked for") if options.no_peer else install_peer()
    results = {}
    for name, video in videos.items():
        short = probe(video).duration_s < 60
        rounds = options.rounds if short else max(1, options.rounds // 2)
        results[name] = measure(video, rounds, peer, MODELS if short else MODELS[:1])
        print(table(name, results[name]), flush=True)
    if options.long:
        for minutes in (3, 30):  # memory is to be the same
            name = f"1080p, {minutes} min"
            results[name] = measure(long_video(1920, 1080, minutes), 1, None, ())
            print(table(name, results[name]), flush=True)
    settings = {
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "peer": f"{PEER} {PEER_VERSION}" if peer else f"{PEER}: {missing}",
        "machine": platform.machine(),
    }
    with atomic_path(options.out) as temporary:
        text = json.dumps({"settings": settings, "videos": results}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    if PAGE.exists():
        head, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
        tables = "\n".join(table(*item) for item in results.items())
        if not peer:
            tables += f"\n{PEER}: {missing}.\n"
        with atomic_path(PAGE) as temporary:
            temporary.write_text(f"{head}{MARK}\n\n{tables}", encoding="utf-8")


def install_peer() -> tuple[Path | None, str]:
    """The Python of the peer's environment, or why there is none."""
    folder = cache_folder() / "throughput" / f"{PEER}-{PEER_VERSION}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            f"{PEER}=={PEER_VERSION}",
            "setuptools<81",
        ]
        made = subprocess.run(pip, capture_output=True, text=True, check=False)
        if made.returncode:
            return None, f"does not install here ({made.stderr.strip().splitlines()[-1]})"
        (folder / "ready").touch()
    return python, ""


def measure(video: Path, rounds: int, peer: Path | None, models: tuple[str, ...]) -> Run:
    """All programs on one video, in turns."""
    peer_program = Path(__file__).with_name("peer.py")
    ours = [sys.executable, "-m", "benchmarks.throughput.ours"]
    commands = {"rppg": [*ours, "whole", str(video)]}
    if peer:
        for model in models:
            commands[f"{PEER} {model}"] = [str(peer), str(peer_program), model, str(video)]
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    stages: list[Run] = []
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command))
        stages.append(run([*ours, "stages", str(video)], str(STAGES_S)))
    info = probe(video)
    return {
        "width": info.width,
        "height": info.height,
        "fps": round(info.fps, 3),
        "seconds": round(info.duration_s, 2),
        "megabit_per_s": round(video.stat().st_size * 8e-6 / info.duration_s, 2),
        "rounds": rounds,
        "programs": {name: summary(found) for name, found in runs.items()},
        "stages": {stage: summary([found[stage] for found in stages]) for stage in stages[0]},
    }


def run(command: list[str], *arguments: str) -> Run:
    """What a program tells in its last line, given the time of its start."""
    done = subprocess.run(
        [*command, str(time.monotonic()), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(runs: list[Run]) -> Run:
    """Median, least and most of each number over the rounds."""
    out: Run = {}
    for key in runs[0]:
        values = [found[key] for found in runs]
        out[key] = [round(v, 3) for v in (statistics.median(values), min(values), max(values))]
    return out


def table(name: str, result: Run) -> str:
    """One video as Markdown."""
    lines = [
        f"## {name}",
        "",
        f"{result['width']}×{result['height']}, {result['fps']:g} Hz, {result['seconds']:g} s, "
        f"{result['megabit_per_s']:g} Mbit/s; median of {result['rounds']} (least–most).",
        "",
        "| program | start-up s | frames/s | × real time | CPU ms/frame | cores | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for program, row in result["programs"].items():
        wall, fast, slow = (1e3 / ms for ms in row["wall_ms"])
        cpu = row["cpu_ms"][0]
        lines.append(
            f"| {program} | {_spread(row['startup_s'], 1)} | {wall:.0f} ({slow:.0f}–{fast:.0f}) | "
            f"{wall / result['fps']:.1f} | {_spread(row['cpu_ms'], 1)} | "
            f"{cpu / row['wall_ms'][0]:.1f} | {_spread(row['peak_mb'], 0)} |"
        )
    lines += ["", "| stage | wall ms/frame | CPU ms/frame |", "| --- | ---: | ---: |"]
    for stage, row in result["stages"].items():
        lines.append(f"| {stage} | {_spread(row['wall_ms'], 2)} | {_spread(row['cpu_ms'], 2)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float], digits: int) -> str:
    median, least, most = values
    if least == most:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


if __name__ == "__main__":
    main()
