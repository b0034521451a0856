"""Recordings in which no pulse is found: named by training, and left out if it requires a pulse."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from rppg.adapt import adapt
from rppg.data.specs import open_datasets
from rppg.errors import InputError
from rppg.estimators.pulse_score import PULSE_SCORE, describe_no_pulse, recording_score
from rppg.json_values import finite_or_null
from rppg.peers.config import PeerConfig
from rppg.peers.train import train_peer
from rppg.train import verified
from rppg.train.config import TrainConfig
from rppg.train.resume import is_finished, settings_of
from rppg.train.run import TrainProgress, TrainResult, train
from rppg.types import FaceCrops, Recording

SPEC = "synthetic:lab?dead=0.5"
DEAD = ["lab-0", "lab-1", "lab-2", "lab-5"]
CONFIG = TrainConfig(data=(SPEC,), subjects=6, clip_s=5, stride_s=5, require_pulse=True)
PEER = {"data": (SPEC,), "clip_frames": 90, "stride_frames": 300, "epochs": 1, "batch_size": 4}
PEER |= {"model": {"width": 2}}


def first_10_s(recording: Recording) -> Recording:
    def load() -> FaceCrops:
        crops = recording.load_crops()
        some = crops.times_s < 10.1
        return FaceCrops(crops.frames[some], crops.times_s[some], crops.valid[some])

    return replace(recording, load_crops=load)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Six recordings of 10 s, four of them without a pulse."""
    return [first_10_s(r) for r in open_datasets([SPEC], split="train", subjects=6)]


@pytest.fixture(scope="module")
def result(recordings: list[Recording]) -> TrainResult:
    return train(CONFIG, recordings=recordings)


def without_clock(result: TrainResult) -> object:
    return finite_or_null([{**row, "seconds": 0} for row in result.log])


def test_the_recordings_are_those_without_a_pulse(recordings: list[Recording]) -> None:
    assert [r.name for r in recordings if r.metadata["kind"] != "living"] == DEAD


def test_a_required_pulse_leaves_out_what_has_none(
    recordings: list[Recording], result: TrainResult
) -> None:
    dataset = recordings[0].dataset
    assert list(result.skipped) == [f"{dataset}: {name}" for name in DEAD]
    for name in DEAD:
        reason = result.skipped[f"{dataset}: {name}"]
        assert reason.startswith(f"{name}: no pulse found: score 0.0")
        assert reason.endswith(", below 0.04")
    (data,) = result.provenance["data"]
    assert data["left_out"] == DEAD and data["recordings"] == 2
    assert result.provenance["config"]["require_pulse"] is True
    living = [r for r in recordings if r.name not in DEAD]
    alone = train(CONFIG.model_copy(update={"require_pulse": False}), recordings=living)
    assert without_clock(alone) == without_clock(result)


def test_without_it_they_are_named_once_and_trained_on(
    recordings: list[Recording], caplog: pytest.LogCaptureFixture
) -> None:
    config = CONFIG.model_copy(update={"require_pulse": False, "epochs": 2})
    found = train(config, recordings=recordings)
    assert not found.skipped and found.provenance["recordings"] == 6
    *lines, last = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == DEAD
    assert all("no pulse found: score 0.0" in line for line in lines)
    assert last == (
        "no pulse found in 4 of 6 recordings; require_pulse (--require-pulse) leaves them out"
    )


def test_a_recording_that_cannot_be_judged(
    recordings: list[Recording], caplog: pytest.LogCaptureFixture
) -> None:
    """It is too short for a clip of the score: no reason for a warning, but no pulse is found."""
    crops = recordings[3].load_crops()
    short = FaceCrops(crops.frames[:240], crops.times_s[:240], crops.valid[:240])
    assert math.isnan(recording_score(short))
    gray = replace(crops, frames=crops.frames[..., :1])
    assert math.isnan(recording_score(gray))
    used = [*recordings[3:5], replace(recordings[3], name="short", load_crops=lambda: short)]
    config = CONFIG.model_copy(update={"require_pulse": False})
    assert not train(config, recordings=used).skipped
    assert not caplog.records
    (reason,) = train(CONFIG, recordings=used).skipped.values()
    assert reason.startswith("short: no pulse found: no 10 s in colour with a face")


def test_nothing_left(recordings: list[Recording]) -> None:
    dead = [r for r in recordings if r.name in DEAD]
    best = r"in any of the 4 recordings; the highest score is 0\.0\d+ \(lab-\d\), 0\.04 is needed"
    with pytest.raises(InputError, match=rf"require_pulse: no pulse is found {best}"):
        train(CONFIG, recordings=dead)


def test_the_threshold_itself_counts_as_a_pulse() -> None:
    assert describe_no_pulse(PULSE_SCORE) is None
    assert describe_no_pulse(math.nextafter(PULSE_SCORE, 0)) is not None


# ---- Other methods ------------------------------------------------------------------------------


def counted(crops: FaceCrops, calls: list[int]) -> float:
    calls.append(len(crops.times_s))
    return recording_score(crops)


def test_a_peer_scores_each_recording_once(recordings: list[Recording]) -> None:
    living = open_datasets(["synthetic:lab?kind=living&dead=0.5"], split="train", subjects=12)
    used = [*recordings[:3], *map(first_10_s, living[:5])]
    calls: list[int] = []
    config = PeerConfig.model_validate(
        {**PEER, "require_pulse": True, "mask": {}, "select": "reference"}
    )
    result = train_peer(config, recordings=used, score=partial(counted, calls=calls))
    assert len(calls) == len(used)
    assert [key.split(": ")[-1] for key in result.skipped] == DEAD[:3]
    scores = result.provenance["scores"]
    assert len(scores) == 5 and min(scores.values()) >= PULSE_SCORE
    assert not result.provenance["rejected"]
    plain = PeerConfig.model_validate({**PEER, "mask": {}})
    masked = train_peer(plain, recordings=used, score=partial(counted, calls=calls))
    assert len(calls) == 2 * len(used)
    rejected = [name.split(": ")[-1] for name in masked.provenance["rejected"]]
    assert rejected == DEAD[:3] and not masked.skipped


def test_an_adaptation_requires_it(recordings: list[Recording]) -> None:
    with pytest.raises(InputError, match="2 usable recordings; deciding"):
        adapt(CONFIG, recordings=recordings)


# ---- Resuming -----------------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for the end of the process."""


def test_a_resumed_run_decides_the_same(tmp_path: Path, recordings: list[Recording]) -> None:
    config = CONFIG.model_copy(update={"epochs": 3})
    run: Callable[..., TrainResult] = partial(train, config, recordings=recordings)
    whole = run(out=tmp_path / "whole")

    def kill(progress: TrainProgress) -> None:
        if progress.step == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run(out=tmp_path / "cut", progress=kill, save_every_s=0)
    other = config.model_copy(update={"require_pulse": False})
    with pytest.raises(InputError, match=r"another run.*require_pulse"):
        train(other, recordings=recordings, out=tmp_path / "cut", resume=True)
    seen: list[int] = []
    cut = run(
        out=tmp_path / "cut", resume=True, progress=lambda progress: seen.append(progress.step)
    )
    assert seen[0] == 2
    assert cut.skipped == whole.skipped and len(cut.skipped) == 4
    assert without_clock(cut) == without_clock(whole)
    checkpoints = [tmp_path / name / "checkpoint.safetensors" for name in ("whole", "cut")]
    assert checkpoints[0].read_bytes() == checkpoints[1].read_bytes()
    assert is_finished(tmp_path / "cut", settings_of("fcus", config))
    with pytest.raises(InputError, match="of another run"):
        is_finished(tmp_path / "cut", settings_of("fcus", other))


@pytest.mark.parametrize("model", [TrainConfig, PeerConfig])
def test_the_settings_of_a_run_without_it_are_what_they_were(model: type[BaseModel]) -> None:
    assert "require_pulse" not in model().model_dump(mode="json")
    required = model.model_validate({"require_pulse": True})
    assert model.model_validate(required.model_dump(mode="json")) == required


# ---- Several processes --------------------------------------------------------------------------

RANKS = """
import sys, torch
from rppg.train import distributed
with distributed.process_group(timeout_s=60):
    rank = distributed.rank()
    calls = []
    def compute(index):
        calls.append(index)
        return float("nan") if index == 3 else index + 0.1
    values = distributed.compute_together(5, compute)
    assert calls == list(range(rank, 5, 2)), calls
    assert str(values) == "[0.1, 1.1, 2.1, nan, 4.1]", values
    assert distributed.compute_together(1, lambda index: 0.5) == [0.5]
"""


def test_each_rank_scores_a_share_and_all_get_the_same(tmp_path: Path) -> None:
    program = tmp_path / "ranks.py"
    program.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    ended = subprocess.run(
        [*command, str(program)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


# ---- The commands -------------------------------------------------------------------------------


@pytest.fixture
def rppg(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    from rppg.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_check_lists_recordings_without_a_pulse(rppg: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = rppg("check", SPEC, "--subjects", "6")
    assert code == 0 and "pulse" not in out
    code, out, _ = rppg("check", SPEC, "--subjects", "6", "--pulse")
    assert code == 2
    *lines, counts, weak, last = out.splitlines()
    found = [line for line in lines if not line.endswith("  ok")]
    assert [line.split("  ")[0] for line in found] == DEAD
    for line in found:
        assert "  pulse  used without --require-pulse  no pulse found: score 0.0" in line
    assert counts == "6 recordings: 4 with defects, 0 of them can't be used"
    assert weak.startswith("Living people with a weak pulse are listed, too")
    assert last == "Without a pulse: 4; can't be judged: 0"


def test_check_of_files_scores_their_crops(
    rppg: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video without a pulse, one that is too short to be judged, and one that is damaged."""
    from rppg.video import write_video

    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    noise = np.random.default_rng(0).integers(90, 110, (330, 48, 48, 3))
    Path("videos").mkdir()
    write_video(Path("videos/dead.avi"), noise.astype(np.uint8), fps=30)
    write_video(Path("videos/short.avi"), noise[:180].astype(np.uint8), fps=30)
    Path("videos/no.avi").write_bytes(b"no video")
    code, out, _ = rppg("check", "folder:videos?face=full", "--pulse", "--json")
    assert code == 2
    entries = {entry["record"]: entry for entry in json.loads(out)["records"]}
    kinds = {name: [d["kind"] for d in entry["defects"]] for name, entry in entries.items()}
    assert kinds == {"dead.avi": ["pulse"], "short.avi": [], "no.avi": ["unreadable"]}
    assert entries["dead.avi"]["usable"] and entries["dead.avi"]["score"] < PULSE_SCORE
    assert entries["short.avi"]["score"] is entries["no.avi"]["score"] is None
    assert (tmp_path / "cache" / "crops").exists()
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "none"))
    rppg("check", "folder:videos?face=full", "--pulse", "--no-cache")
    assert not (tmp_path / "none" / "crops").exists()


@pytest.mark.parametrize("method", ["fcus", "sinc"])
def test_the_option_and_the_file_require_it(
    rppg: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    scores = {0: 0.012, 1: 0.9, 2: 0.8, 3: 0.7}
    left = iter(scores.values())
    monkeypatch.setattr(verified, "recording_score", lambda crops: next(left))
    small = "subjects = 4\n"
    if method == "sinc":
        small += "clip_frames = 90\nstride_frames = 300\nepochs = 1\n"
    model = "[model]\nwidth = 2\n" if method == "sinc" else ""
    common = ("train", "--data", "synthetic:lab", "--config", "a.toml", "--method", method)
    Path("a.toml").write_text(small + model)
    assert rppg(*common, "--out", "one", "--require-pulse")[0] == 0
    left = iter(scores.values())
    Path("a.toml").write_text(small + "require_pulse = true\n" + model)
    code, out, err = rppg(*common, "--out", "two")
    assert code == 0, err
    assert "Left out: 1 recordings, named above" in out
    files = [Path(name, "checkpoint.json") for name in ("one", "two")]
    made = [json.loads(file.read_text())["provenance"] for file in files]
    assert made[0]["skipped"] == made[1]["skipped"]
    assert made[0]["run"] == made[1]["run"]
    ((name, reason),) = made[0]["skipped"].items()
    assert name.endswith("lab-0")
    assert reason == "lab-0: no pulse found: score 0.0120, below 0.04"
