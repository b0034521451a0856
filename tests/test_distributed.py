"""Several processes under `torchrun` train as one process on the same batches does."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rppg.data.specs import open_datasets
from rppg.estimators.find import load_estimator
from rppg.train.distributed import TIMEOUT_S
from rppg.train.resume import load_state

PROGRAM = Path(__file__).with_name("distributed_program.py")
spec = importlib.util.spec_from_file_location("distributed_program", PROGRAM)
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)

CONFIG = 'data = ["synthetic:lab"]\nsubjects = 6\nclip_s = 5.0\nbatch_size = 5\nseed = 1\n'


def torchrun(ranks: int, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    return subprocess.Popen(
        [*command, "--standalone", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def let(started: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = started.communicate(timeout=600)
    assert started.returncode == 0, err[-3000:]
    return out, err


def trains(folder: Path, out: str, ranks: int, *options: object) -> Sequence[object]:
    (folder / "config.toml").write_text(CONFIG)
    return [
        ranks, "-m", "rppg.train", "--config", folder / "config.toml", "--out", folder / out,
        *options,
    ]  # fmt: skip


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What each rank saved, without its ending."""
    folder = tmp_path_factory.mktemp("ranks")
    let(torchrun(request.param, PROGRAM, folder))
    return [folder / f"{{}}-{request.param}-{rank}" for rank in range(request.param)]


@pytest.mark.parametrize("name", program.STACKS)
def test_ranks_go_where_one_process_goes(ranks: list[Path], name: str) -> None:
    config = program.STACKS[name]
    net, log = program.train(config, program.clip_set(config))
    for path in ranks:
        stem = str(path).format(name)
        found = load_file(f"{stem}.safetensors")
        for key, value in net.state_dict().items():
            torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9)
        rows = json.loads(Path(f"{stem}.json").read_text())
        for row, alone in zip(rows, log, strict=True):
            assert row["clips_seen"] == alone["clips_seen"]  # no clip twice
            for term in ("loss", "kept", "gradient_norm", "variance"):
                assert row[term] == pytest.approx(alone[term], rel=1e-6)


@pytest.mark.parametrize("name", program.STACKS)
def test_ranks_agree_to_the_bit(ranks: list[Path], name: str) -> None:
    weights = [Path(str(path).format(name) + ".safetensors").read_bytes() for path in ranks]
    assert all(other == weights[0] for other in weights)


def bvp(checkpoint: Path) -> np.ndarray:
    (recording,) = open_datasets(["synthetic:webcam"], split="test", subjects=1)
    crops = recording.load_crops()
    return load_estimator(checkpoint)(crops.frames.astype(np.float32), 30.0)


def same_outputs(a: Path, b: Path) -> bool:
    """Whether two checkpoints give the same BVP, to 1e-4 of its deviation."""
    one, other = bvp(a / "checkpoint.safetensors"), bvp(b / "checkpoint.safetensors")
    return bool(np.max(np.abs(one - other)) < 1e-4 * np.std(one))


@pytest.mark.slow
def test_the_command_trains_on_two_ranks(tmp_path: Path) -> None:
    out, err = let(torchrun(*trains(tmp_path, "two", 2)))
    assert out.count("Checkpoint:") == 1 and "Traceback" not in err
    let(torchrun(*trains(tmp_path, "one", 1)))
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        "checkpoint.json", "checkpoint.safetensors", "log.jsonl",
    }  # fmt: skip
    assert same_outputs(tmp_path / "one", tmp_path / "two")


def workers(of: int) -> list[int]:
    """The processes that a torchrun has started, in the order of their ranks."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == of:
                    variables = (folder / "environ").read_bytes().split(b"\0")
                    rank = next(v for v in variables if v.startswith(b"RANK="))
                    found.append((int(rank.removeprefix(b"RANK=")), int(folder.name)))
            except (FileNotFoundError, ProcessLookupError, StopIteration):
                continue
    return [process for _, process in sorted(found)]


def until_saved(started: subprocess.Popen[str], state: Path) -> None:
    deadline = time.monotonic() + 600
    while not state.exists():
        assert started.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the ranks")
@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_rank_that_dies_ends_the_others_and_the_run_resumes(tmp_path: Path, again: int) -> None:
    long = ("--epochs", 3, "--save-every", 0)  # float32 drifts apart over many steps
    started = torchrun(*trains(tmp_path, "cut", 2, *long))
    until_saved(started, tmp_path / "cut" / "resume.safetensors")
    os.kill(workers(started.pid)[1], signal.SIGKILL)
    began = time.monotonic()
    _, err = started.communicate(timeout=600)
    assert started.returncode != 0
    assert time.monotonic() - began < TIMEOUT_S - 60  # the others did not wait for it
    assert "Signal 9 (SIGKILL)" in err  # torchrun's own word on who died
    let(torchrun(*trains(tmp_path, "cut", again, *long, "--resume")))
    let(torchrun(*trains(tmp_path, "whole", 1, *long)))
    assert same_outputs(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_a_scheduler_s_sigterm_leaves_a_state(tmp_path: Path) -> None:
    started = torchrun(*trains(tmp_path, "out", 2, "--epochs", 1000, "--save-every", 0))
    until_saved(started, tmp_path / "out" / "resume.safetensors")
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=600)
    assert started.returncode != 0
    _, state = load_state(tmp_path / "out" / "resume.safetensors")
    assert len(state["log"]) > 0
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.slow
def test_peers_are_refused(tmp_path: Path) -> None:
    started = torchrun(2, "-m", "rppg.train", "--method", "sinc", "--out", tmp_path)
    _, err = started.communicate(timeout=600)
    assert started.returncode != 0
    assert "rppg: method sinc trains in one process; leave torchrun out" in err
