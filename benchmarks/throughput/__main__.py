"""Speed and memory from a video file to a heart rate: `python -m benchmarks.throughput`.

Each measurement is a separate process: start-up (interpreter, imports, checkpoint), then `predict`
once, with wall-clock and CPU time per frame and peak memory minus that after the imports. Then the
stages, each including all before it. For comparison `open-rppg` from PyPI, in an environment that
is installed on first use. Videos: the real clip (only its speed is measured), five minutes at
1280 × 720, and with `--long` 3 and 30 minutes at 1920 × 1080. And the bars (`bars.py`), on one and
ten minutes at 640 × 480; `--bars` measures them alone and writes nothing. Writes
`docs/results/throughput.json` and the tables of `docs/throughput.md`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.results import arguments, markdown_table, replace_tables, write_json
from benchmarks.study.output import claims_table, print_claims
from benchmarks.throughput.bars import find_claims, measure_bars
from benchmarks.throughput.videos import long_video
from rppg.cache_folder import cache_folder
from rppg.video import probe

PAGE = Path("docs/throughput.md")
MARK = "<!-- tables: python -m benchmarks.throughput --long -->"
REAL = Path("../shared/data/real-face-1/video.mp4")
PEER, PEER_VERSION = "open-rppg", "0.1.1"
MODELS = ("FacePhys.rlap", "PhysNet.rlap")
"""The peer's default network, and the one for whose architecture others publish speeds."""
STAGES_S = 30.0

Numbers = dict[str, Any]


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "throughput")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="also 1920 × 1080, up to half an hour")
    parser.add_argument("--no-peer", action="store_true", help="without open-rppg")
    parser.add_argument("--bars", action="store_true", help="measure the bars alone, write nothing")
    options = parser.parse_args()
    bars = measure_bars(run, long_video(640, 480, 1), long_video(640, 480, 10), options.rounds)
    if options.bars:
        print_claims(find_claims(bars, {}))
        return
    videos = {"720p, 5 min": long_video(1280, 720, 5)}
    if REAL.exists():
        videos = {"real clip, 480p, 12 s": REAL, **videos}
    peer, missing = (None, "left out") if options.no_peer else install_peer()
    results = {}
    for name, video in videos.items():
        short = probe(video).duration_s < 60
        rounds = options.rounds if short else max(1, options.rounds // 2)
        results[name] = measure(video, rounds, peer, MODELS if short else MODELS[:1])
        print(table(name, results[name]), flush=True)
    if options.long:
        for minutes in (3, 30):  # peak memory must not grow
            name = f"1080p, {minutes} min"
            results[name] = measure(long_video(1920, 1080, minutes), 1, None, ())
            print(table(name, results[name]), flush=True)
    claims = find_claims(bars, {name: peak_mb(result) for name, result in results.items()})
    print_claims(claims)
    settings = {
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "peer": f"{PEER} {PEER_VERSION}" if peer else f"{PEER}: {missing}",
        "machine": platform.machine(),
    }
    document = {
        "settings": settings,
        "claims": [asdict(claim) for claim in claims],
        "bars": {name: [round(v, 3) for v in values] for name, values in bars.items()},
        "videos": results,
    }
    write_json(options.out, document)
    if PAGE.exists():
        tables = f"## Bars\n\n{claims_table(claims)}\n\n"
        tables += "\n".join(table(*item) for item in results.items())
        if not peer:
            tables += f"\n{PEER}: {missing}.\n"
        replace_tables(PAGE, tables, MARK)


def install_peer() -> tuple[Path | None, str]:
    """Return the Python of the peer's environment, or None and the reason."""
    folder = cache_folder() / "throughput" / f"{PEER}-{PEER_VERSION}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", f"{PEER}=={PEER_VERSION}"]
        done = subprocess.run(
            [*install, "setuptools<81"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return None, f"does not install here ({done.stderr.strip().splitlines()[-1]})"
        (folder / "ready").touch()
    return python, ""


def measure(video: Path, rounds: int, peer: Path | None, models: tuple[str, ...]) -> Numbers:
    """Return the results of all programs on one video; the programs alternate."""
    peer_program = Path(__file__).with_name("peer.py")
    ours = [sys.executable, "-m", "benchmarks.throughput.ours"]
    commands = {"rppg": [*ours, "whole", str(video)]}
    if peer:
        for model in models:  # -E: a PYTHONPATH would lead it to this package
            commands[f"{PEER} {model}"] = [str(peer), "-E", str(peer_program), model, str(video)]
    by_program: dict[str, list[Numbers]] = {name: [] for name in commands}
    stages: list[Numbers] = []
    for _ in range(rounds):
        for name, command in commands.items():
            by_program[name].append(run(command))
        stages.append(run([*ours, "stages", str(video)], str(STAGES_S)))
    info = probe(video)
    return {
        "width": info.width,
        "height": info.height,
        "fps": round(info.fps, 3),
        "seconds": round(info.duration_s, 2),
        "megabit_per_s": round(video.stat().st_size * 8e-6 / info.duration_s, 2),
        "rounds": rounds,
        "programs": {name: summary(rows) for name, rows in by_program.items()},
        "stages": {stage: summary([row[stage] for row in stages]) for stage in stages[0]},
    }


def run(command: list[str], *arguments: str) -> Numbers:
    """Return the last line that a program prints, which is JSON; it gets the time of its start."""
    done = subprocess.run(
        [*command, str(time.monotonic()), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peak_mb(result: Numbers) -> float:
    """Return the median of this package's peak memory on a video, with that of its imports."""
    ours = result["programs"]["rppg"]
    return float(ours["imports_mb"][0] + ours["peak_mb"][0])


def summary(rounds: list[Numbers]) -> Numbers:
    """Return median, lowest and highest of each number over the rounds."""
    by_key = {key: [row[key] for row in rounds] for key in rounds[0]}
    return {
        key: [round(v, 3) for v in (statistics.median(values), min(values), max(values))]
        for key, values in by_key.items()
    }


def table(name: str, result: Numbers) -> str:
    """Return a video's results as Markdown."""
    programs = []
    for program, row in result["programs"].items():
        wall, fast, slow = (1e3 / ms for ms in row["wall_ms"])
        programs.append(
            (
                program,
                _spread(row["startup_s"], 1),
                f"{wall:.0f} ({slow:.0f}–{fast:.0f})",
                f"{wall / result['fps']:.1f}",
                _spread(row["cpu_ms"], 1),
                f"{row['cpu_ms'][0] / row['wall_ms'][0]:.1f}",
                _spread(row["peak_mb"], 0),
            )
        )
    head = ["program", "start-up s", "frames/s", "× real time", "CPU ms/frame", "cores", "peak MB"]
    stages = [
        (stage, _spread(row["wall_ms"], 2), _spread(row["cpu_ms"], 2))
        for stage, row in result["stages"].items()
    ]
    return (
        f"## {name}\n\n"
        f"{result['width']}×{result['height']}, {result['fps']:g} Hz, {result['seconds']:g} s, "
        f"{result['megabit_per_s']:g} Mbit/s; "
        f"median of {result['rounds']} (lowest–highest).\n\n"
        f"{markdown_table(head, programs, align=['---:'])}\n\n"
        f"{markdown_table(['stage', 'wall ms/frame', 'CPU ms/frame'], stages, align=['---:'])}\n"
    )


def _spread(values: list[float], digits: int) -> str:
    median, lowest, highest = values
    if lowest == highest:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({lowest:.{digits}f}–{highest:.{digits}f})"


if __name__ == "__main__":
    main()
