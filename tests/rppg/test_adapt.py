"""Adaptation: no label is read, people not learned from decide, in doubt the old one is kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rppg.adapt import AdaptResult, adapt, away_from_pulse, gain_of
from rppg.cli import main
from rppg.errors import InputError
from rppg.estimators.find import load_estimator
from rppg.models.checkpoint import load_checkpoint, save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.train.clips import cut_clips
from rppg.train.config import TrainConfig
from rppg.types import FaceCrops, Pulse, Recording

CONFIG = TrainConfig(clip_s=5, stride_s=5, data=("synthetic:webcam",))


def unreadable() -> Pulse:
    raise AssertionError("adaptation read a label")


def people(domain: str, duration_s: float = 10.0) -> list[Recording]:
    """Recordings of six people whose labels cannot be read."""

    def recording(number: int) -> Recording:
        crops = render_crops(draw_subject(DOMAINS[domain], number, duration_s))
        return Recording(f"{domain}-{number}", domain, str(number), lambda: crops, unreadable)

    return [recording(n) for n in range(320, 326)]


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return people("webcam")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start whose fusion prefers the loudest regions: any training mends it."""
    net, about = load_checkpoint()
    with torch.no_grad():
        net.fusion_power.fill_(-6.0)
    path = tmp_path_factory.mktemp("start") / "spoilt.safetensors"
    save_checkpoint(path, net, about["provenance"])
    return path


def same_bits(a: FcusNet, b: FcusNet) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def worse(recordings: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> AdaptResult:
    """From the shipped network, at a learning rate that destroys it."""
    out = tmp_path_factory.mktemp("worse")
    wild = CONFIG.model_copy(update={"lr_physics": 3.0, "epochs": 2, "smooth": None})
    return adapt(wild, recordings=recordings, out=out)


@pytest.fixture(scope="module")
def better(spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> AdaptResult:
    """From a spoilt network, mended."""
    mend = CONFIG.model_copy(
        update={
            "clip_s": 10.0,
            "lr_physics": 0.3,
            "tether": 0.0,  # it would hold the fusion where it was spoilt
            "epochs": 16,
            "smooth": None,
            "mask": None,  # it would leave out what the spoilt network shows of the clips
        }
    )
    out = tmp_path_factory.mktemp("better")
    return adapt(mend, start=spoilt, recordings=people("webcam", 20.0), out=out)


def test_the_old_network_is_kept_where_the_new_one_is_worse(worse: AdaptResult) -> None:
    shipped, about = load_checkpoint()
    assert same_bits(worse.start, shipped) and not same_bits(worse.adapted, shipped)
    assert not worse.evidence.better and worse.net is worse.start
    assert worse.checkpoint is not None
    kept, description = load_checkpoint(worse.checkpoint)
    assert same_bits(kept, shipped)
    provenance = description["provenance"]
    assert provenance["adaptation"]["kept"] == "start"
    assert provenance["adaptation"]["why"] == worse.evidence.summary()
    assert "Kept the old network" in worse.evidence.summary()
    assert provenance["config"] == about["provenance"]["config"], "that of the kept one"
    assert provenance["adaptation"]["tried"]["config"]["clip_s"] == 5
    assert load_estimator(worse.checkpoint).clip_s == 10


def test_the_adapted_network_is_kept_where_it_is_clearly_better(
    better: AdaptResult, spoilt: Path
) -> None:
    assert better.evidence.better and better.net is better.adapted
    assert better.evidence.gain > better.evidence.gain_low > 0
    assert better.checkpoint is not None
    kept, description = load_checkpoint(better.checkpoint)
    assert same_bits(kept, better.adapted)
    provenance = description["provenance"]
    assert provenance["adaptation"]["kept"] == "adapted"
    assert provenance["adaptation"]["start"]["checkpoint"] == str(spoilt)
    assert provenance["adaptation"]["start"]["provenance"] == load_checkpoint()[1]["provenance"]
    assert provenance["config"]["data"] == ["synthetic:webcam"]
    rows = (better.checkpoint.parent / "log.jsonl").read_text().splitlines()
    assert len(rows) == len(better.log) == provenance["steps"]
    assert better.evidence.summary().startswith("Kept the adapted network")


def test_what_is_held_out_is_not_learned_from(
    recordings: list[Recording], worse: AdaptResult
) -> None:
    """Other frames in the held-out recordings change the evidence, not the network."""
    names = set(worse.evidence.names)
    assert len(names) == 4 and worse.provenance["adaptation"]["tried"]["clips_per_epoch"] == 2 * 2

    def darker(recording: Recording) -> Recording:
        crops = recording.load_crops()
        noise = np.random.default_rng(0).integers(0, 60, crops.frames.shape)
        other = replace(crops, frames=np.clip(crops.frames + noise, 0, 255).astype(np.uint8))
        return replace(recording, load_crops=lambda: other)

    changed = [darker(r) if f"webcam: {r.subject}" in names else r for r in recordings]
    wild = CONFIG.model_copy(update={"lr_physics": 3.0, "epochs": 2, "smooth": None})
    again = adapt(wild, recordings=changed)
    assert same_bits(again.adapted, worse.adapted)
    assert again.evidence.before != worse.evidence.before


def test_people_are_held_out_whole_and_count_once(recordings: list[Recording]) -> None:
    doubled = recordings + [
        replace(recording, name=f"{recording.name}-b") for recording in recordings
    ]
    found = adapt(CONFIG, recordings=doubled).evidence
    assert found.unit == "people" and len(found.names) == 4
    one = [replace(recording, subject="me") for recording in recordings]
    found = adapt(CONFIG, recordings=one).evidence
    assert found.unit == "recordings" and len(found.names) == 4


def test_the_bound_is_students() -> None:
    before, after = [0.4, 0.5, 0.3, 0.6], [0.3, 0.45, 0.28, 0.4]
    gain, low = gain_of(before, after)
    # differences .1, .05, .02, .2: mean .0925, deviation .07890; t(0.9, 3) = 1.6377
    assert gain == pytest.approx(0.0925)
    assert low == pytest.approx(0.0925 - 1.6377 * 0.07890 / 2, abs=1e-5)
    assert gain_of(before, before) == (0, 0), "no change is not better"


def test_noise_lies_away_from_its_line_more_than_a_pulse(recordings: list[Recording]) -> None:
    net, _ = load_checkpoint()
    crops = recordings[0].load_crops()
    noise = np.random.default_rng(0).integers(90, 160, crops.frames.shape).astype(np.uint8)
    face, blank = (
        away_from_pulse(net, cut_clips([c], net.config, clip_s=5, stride_s=5))
        for c in (crops, FaceCrops(noise, crops.times_s, crops.valid))
    )
    assert 0 <= face < blank <= 1


def test_too_few_recordings_and_other_models_are_refused(recordings: list[Recording]) -> None:
    with pytest.raises(InputError, match=r"5 usable recordings.* needs 6.*without --adapt"):
        adapt(CONFIG, recordings=recordings[:5])
    other = TrainConfig.model_validate({**CONFIG.model_dump(), "model": {"regions": 3}})
    with pytest.raises(InputError, match=r"model: differs.*leave it out"):
        adapt(other, recordings=recordings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "synthetic:lab", "--start", "a.safetensors"], "add --adapt"),
        (["--adapt"], "--data"),
        (["--adapt", "--data", "synthetic:lab", "--method", "sinc"], "method sinc"),
        (["--adapt", "--data", "synthetic:lab", "--start", "none.safetensors"], "no such file"),
        (
            ["--adapt", "--data", "x", "--start", "r/checkpoint.safetensors", "--out", "r"],
            "overwrite",
        ),
    ],
)
def test_combinations_without_a_meaning_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == ""
    assert len(err.splitlines()) == 1 and message in err


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text("subjects = 6\nclip_s = 10\nstride_s = 10\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    data = ["--data", "synthetic:lab", "--config", "small.toml", "--out", "run"]
    with pytest.raises(SystemExit) as ended:
        main(["train", "--adapt", *data])
    printed = capsys.readouterr()
    assert not ended.value.code, printed.err
    decision, where = printed.out.splitlines()
    provenance = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["provenance"]
    assert decision == provenance["adaptation"]["why"]
    assert "4 people held out" in decision
    assert where == "Checkpoint: run/checkpoint.safetensors"
