"""A trial trained by several processes, as `torchrun` trains, and ended with its parent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SETTINGS = """
methods = ["fcus"]
seeds = 1
processes_per_trial = 2
[settings.fcus]
clip_s = 5.0
batch_size = 2
mask = false
epochs = 12
"""
CONFIG = "clip_s = 5.0\nbatch_size = 2\nepochs = 12\nsubjects = 60\n"


def descendants(of: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    parents = dict(map(int, line.split()) for line in listed.stdout.splitlines()[1:])
    found, size = {of}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {of}


def wait_until(happened, seconds: float = 500.0) -> None:
    until_s = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.1)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="a parent's death is seen on Linux alone")
def test_killed_and_continued_it_is_what_torchrun_trains(start, study_file, datasets, tmp_path):
    out, file = tmp_path / "out", study_file("one", settings=SETTINGS)
    process = start("--config", file, "--out", out)
    wait_until(lambda: list(out.glob("runs/*/progress.json")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    ranks = descendants(process.pid)
    assert len(ranks) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not any(map(lives, ranks)))
    process = start("--config", file, "--out", out)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    document = json.loads((out / "study.json").read_text())
    assert len(document["cells"]) == 1 and not document["left_out"]
    (run,) = (out / "runs").iterdir()
    (tmp_path / "config.toml").write_text(CONFIG)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
         "-m", "rppg.train", "--config", tmp_path / "config.toml", "--no-mask",
         "--data", f"{datasets / 'one.csv'}?face=full&split=train", "--out", tmp_path / "trained"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path),
             "RPPG_CACHE": str(tmp_path / "cache")},
        check=True, timeout=600,
    )  # fmt: skip
    trained = (tmp_path / "trained" / "checkpoint.safetensors").read_bytes()
    assert (run / "checkpoint.safetensors").read_bytes() == trained


@pytest.mark.slow
def test_a_rank_that_fails_is_named_with_its_reason(start, study_file, tmp_path):
    settings = SETTINGS.replace("clip_s = 5.0", "clip_s = 15.0")  # the videos last 12 s
    process = start("--config", study_file("one", settings=settings), "--out", tmp_path / "out")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    (left_out,) = json.loads((tmp_path / "out" / "study.json").read_text())["left_out"]
    assert "shorter than a clip of 15 s" in left_out["reason"] and "\n" not in left_out["reason"]
