"""Killed at any moment, the same command with --resume ends with the same files, bit by bit.

All of this is slow. By default `rppg/train/test_resume.py` ends runs at chosen steps, within its
own process. Moments are of two kinds: anywhere (SIGKILL after a random time), and at each write
(the process kills itself just before or after it renames a finished file).
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rppg.cli import main

TRAINING = 'data = ["synthetic:lab"]\nsubjects = 4\nclip_s = 5.0\nbatch_size = 4\nepochs = 3\n'
PEER = (
    'data = ["synthetic:lab"]\nsubjects = 4\nepochs = 3\nclip_frames = 90\nbatch_size = 8\n'
    "[model]\nwidth = 8\n"
)
AT_A_WRITE = """
import os, signal, sys
from pathlib import Path
from rppg.cli import main

when, left = sys.argv[1], int(sys.argv[2])
replace = Path.replace

def moved(self, target):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = replace(self, target)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Path.replace = moved
main(sys.argv[3:])
"""


@dataclass(frozen=True)
class Stage:
    """A command, what it leaves, and the folders in which nothing else may be left."""

    arguments: Callable[[Path], Sequence[str]]
    outcome: Callable[[Path], object]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def trained(folder: Path) -> object:
    rows = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    log = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return digest(folder / "out" / "checkpoint.safetensors"), log


def evaluated(folder: Path) -> object:
    names = ("metrics.json", "scores.csv", "scores.tex")
    return [digest(folder / "out" / name) for name in names]


def stored(folder: Path) -> object:
    crops = sorted((folder / "cache" / "crops").rglob("*.safetensors"))
    return [(path.name, digest(path)) for path in crops]


def training(config: str, *options: str) -> Callable[[Path], Sequence[str]]:
    def arguments(folder: Path) -> Sequence[str]:
        (folder / "config.toml").write_text(config)
        named = ["--config", str(folder / "config.toml"), "--out", str(folder / "out")]
        return ["train", *options, *named, "--save-every", "0", "--resume"]

    return arguments


def videos(folder: Path) -> Path:
    return folder.parent / "videos"


STAGES = {
    "train": Stage(training(TRAINING), trained),
    "short training": Stage(training(TRAINING.replace("= 4\nclip", "= 2\nclip")), trained),
    "adapt": Stage(training(TRAINING.replace("= 4\nclip", "= 6\nclip"), "--adapt"), trained),
    "peer": Stage(training(PEER, "--method", "sinc"), trained),
    "evaluate": Stage(
        lambda folder: [
            "evaluate", "--data", "synthetic:lab", "--subjects", "6", "--method", "pos",
            "--method", "fcus", "--out", str(folder / "out"), "--resume",
        ],
        evaluated,
    ),
    "cache": Stage(lambda folder: ["cache", str(videos(folder)), "--workers", "2"], stored),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a stage's own folders are in."""
    return tmp_path_factory.mktemp("kill")


def write_videos(folder: Path) -> None:
    """Write a few short videos, for the stage that reads some."""
    for subject in range(3):
        out = folder / f"person{subject}.mp4"
        named = ["--domain", "lab", "--subject", str(subject), "--duration", "6", "--out", str(out)]
        with pytest.raises(SystemExit) as ended:
            main(["synthesize", *named])
        assert not ended.value.code


def environment(folder: Path) -> dict[str, str]:
    """Few threads, and a cache of its own where the stage is about the cache."""
    cache = folder / "cache"
    return {**os.environ, "RPPG_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def run(
    folder: Path, stage: Stage, program: Sequence[str] = ("-m", "rppg.cli")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *stage.arguments(folder)],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, stage: Stage) -> object:
    """What the command leaves when it is let."""
    started = run(folder, stage)
    _, stderr = started.communicate(timeout=600)
    assert started.returncode == 0, stderr
    out = folder / "out"
    if out.exists():
        assert not (out / "resume.safetensors").exists()
        assert not (out / "evaluation.jsonl").exists()
    return stage.outcome(folder)


def killed_anywhere(folder: Path, stage: Stage, latest_s: float, chance: random.Random) -> bool:
    """Kill the command after a random time; whether it had not ended by then."""
    started = run(folder, stage)
    try:
        started.communicate(timeout=chance.uniform(0.5, latest_s))
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        return True
    return False


def hammer(base: Path, name: str, kills: int, seed: int) -> None:
    """Kill a stage again and again, let it end, and compare with a run that was left alone."""
    stage, chance = STAGES[name], random.Random(f"{name} {seed}")
    whole = base / f"{name}-whole"
    whole.mkdir(exist_ok=True)
    began = time.monotonic()
    wanted = finish(whole, stage)
    took_s = time.monotonic() - began
    done = begun = 0
    while done < kills:
        begun += 1
        folder = base / f"{name}-{seed}-{begun}"
        folder.mkdir()
        for _ in range(4):  # a run that always ends in time is begun anew
            if done < kills and killed_anywhere(folder, stage, took_s, chance):
                done += 1
        assert finish(folder, stage) == wanted


def at_each_write(base: Path, name: str, when: str) -> int:
    """Die at the n-th file that is renamed, for every n; return their number."""
    stage = STAGES[name]
    whole = base / f"{name}-{when}-whole"
    whole.mkdir()
    wanted = finish(whole, stage)
    for number in range(1, 100):
        folder = base / f"{name}-{when}-{number}"
        folder.mkdir()
        program = ("-c", AT_A_WRITE, when, str(number))
        started = run(folder, stage, program)
        started.communicate(timeout=600)
        assert finish(folder, stage) == wanted
        if started.returncode == 0:
            return number - 1
    raise AssertionError("it never ended")


@pytest.mark.slow
def test_a_killed_training_goes_on(base: Path) -> None:
    hammer(base, "train", kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "adapt", "peer", "evaluate", "cache"])
def test_killed_at_random_moments(base: Path, name: str) -> None:
    if name == "cache":
        write_videos(base / "videos")
    hammer(base, name, kills=11, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_write_of_a_training(base: Path, when: str) -> None:
    count = at_each_write(base, "short training", when)
    assert count >= 4 + 6 + 3  # people and their truth; states; log, weights, their description
