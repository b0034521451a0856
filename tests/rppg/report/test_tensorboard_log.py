"""Curves for TensorBoard are the numbers of the log, each step once."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rppg.cli import main
from rppg.data.specs import open_datasets
from rppg.report.tensorboard_log import RATES, X_AXES, tensorboard_log
from rppg.train.config import TrainConfig
from rppg.train.loop import LogRow
from rppg.train.run import TrainProgress, train

SMALL = TrainConfig(data=("synthetic:lab",), subjects=2, clip_s=5.0, batch_size=4, seed=1)
PEER = (
    'data = ["synthetic:lab"]\nsubjects = 3\nepochs = 2\nclip_frames = 90\nstride_frames = 300\n'
    "[model]\nwidth = 4\n[mask]\nthreshold = 0.0\n"
)

Curves = dict[str, dict[int, float]]


class KilledError(Exception):
    """Stands for the end of the process: nothing of the run is left but its files."""


def rppg(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def curves(folder: Path) -> Curves:
    """Each curve's values by step, of all files in the folder; no step may be there twice."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    found: Curves = {}
    for tag in read.Tags()["scalars"]:
        points = [(event.step, event.value) for event in read.Scalars(tag)]
        assert len(dict(points)) == len(points), tag
        found[tag.removeprefix("train/")] = dict(points)
    return found


def logged(folder: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def assert_same(found: Curves, rows: list[dict[str, float | None]]) -> None:
    """The log's columns, and nothing else but the rates and the speed."""
    columns = set(rows[0]) - set(X_AXES)
    assert columns <= found.keys() <= columns | {*RATES, "clips_per_s"}
    for name in columns:
        expected = {int(row["step"]): row[name] for row in rows if row[name] is not None}
        assert found[name] == pytest.approx(expected, rel=1e-6), name


def test_the_curves_are_the_log(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('data = ["synthetic:lab"]\nsubjects = 2\nclip_s = 5.0\n')
    out, events = tmp_path / "out", tmp_path / "new" / "events"
    command = ["train", "--config", str(tmp_path / "config.toml"), "--out", str(out)]
    rppg(*command, "--tensorboard", str(events))
    found, rows = curves(events), logged(out)
    assert_same(found, rows)
    assert {"loss", "sparsity", "kept", "gradient_norm", "gradient_cosine"} <= found.keys()
    assert set(found["gradient_cosine"]) == set(range(2, len(rows) + 1))  # the first has none
    for name in RATES:
        assert list(found[name].values()) == pytest.approx(len(rows) * [getattr(SMALL, name)])
    before = {"clips_seen": 0, "seconds": 0.0}
    for row, speed in zip(rows, found["clips_per_s"].values(), strict=True):
        clips, seconds = (row[name] - before[name] for name in ("clips_seen", "seconds"))
        assert speed == pytest.approx(clips / seconds, rel=1e-4)
        before = row


@pytest.mark.parametrize("method", ["sinc", "contrast-phys"])
def test_a_peers_curves_are_its_log(tmp_path: Path, method: str) -> None:
    (tmp_path / "config.toml").write_text(PEER)
    out, events = tmp_path / "out", tmp_path / "events"
    command = ["train", "--method", method, "--config", str(tmp_path / "config.toml")]
    rppg(*command, "--out", str(out), "--tensorboard", str(events))
    found = curves(events)
    assert_same(found, logged(out))
    assert {"kept", "lr", "clips_per_s"} <= found.keys()
    assert "lr_physics" not in found


def test_a_resumed_run_continues_the_curves(tmp_path: Path) -> None:
    """Also if steps were written that the saved state doesn't have; a new run replaces all."""
    recordings = open_datasets(SMALL.data, split="train", subjects=SMALL.subjects)
    out, events = tmp_path / "out", tmp_path / "events"

    def run(stop: float, resume: bool) -> list[LogRow]:
        with tensorboard_log(events, SMALL) as write:

            def progress(step: TrainProgress) -> None:
                write(step)
                if step.step == stop:  # its state isn't saved: the step is made again
                    raise KilledError

            options = {"out": out, "save_every_s": 0, "resume": resume, "progress": progress}
            return train(SMALL, recordings=recordings, **options).log

    with pytest.raises(KilledError):
        run(3, resume=False)
    assert set(curves(events)["loss"]) == {1, 2, 3}
    run(math.inf, resume=True)
    found, rows = curves(events), logged(out)
    assert_same(found, rows)
    assert len(list(events.iterdir())) == 2
    assert set(found["loss"]) - set(found["clips_per_s"]) == {3}
    with pytest.raises(KilledError):
        run(2, resume=False)
    assert set(curves(events)["loss"]) == {1, 2}


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["train", "--out", str(tmp_path / "out"), "--tensorboard", str(folder)])
        assert ended.value.code == 2
        return capsys.readouterr().err

    (tmp_path / "file").touch()
    assert "is a file; name a folder" in refused(tmp_path / "file")
    assert "can't be written (Not a directory)" in refused(tmp_path / "file" / "events")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    message = "TensorBoard is not installed; pip install 'gradreg[tensorboard]'"
    assert message in refused(tmp_path / "events")
    assert not (tmp_path / "out").exists() and not (tmp_path / "events").exists()


FULL = """
import resource, signal, sys
from pathlib import Path
import rppg.commands.train, rppg.train.run
assert "tensorboard" not in sys.modules
from rppg.errors import WriteError
from rppg.peers.config import PeerConfig
from rppg.report.tensorboard_log import tensorboard_log
from rppg.train.run import TrainProgress
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    with tensorboard_log(Path(sys.argv[1]), PeerConfig()) as write:
        for step in range(1, 200):
            row = {"step": step, "epoch": 1, "clips_seen": step, "seconds": step, "loss": 1.0}
            write(TrainProgress(step, 200, row))
except WriteError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_named_and_nothing_is_imported_before(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "events")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{tmp_path / 'events'}: can't be written (File too large)" in done.stdout, done.stderr


@pytest.mark.slow
def test_of_several_ranks_one_writes(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "config.toml").write_text('data = ["synthetic:lab"]\nsubjects = 2\nclip_s = 5.0\n')
    out, events = tmp_path / "out", tmp_path / "events"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    options = ["--config", tmp_path / "config.toml", "--out", out, "--tensorboard", events]
    command = [*launch, "-m", "rppg.train", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    assert len(list(events.iterdir())) == 1
    assert_same(curves(events), logged(out))
