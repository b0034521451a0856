"""Training runs: without labels, bit for bit, each level alone; what is written and refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rppg.errors import InputError
from rppg.models.checkpoint import load_checkpoint
from rppg.models.fcus import FcusNet
from rppg.models.patches import tile_background
from rppg.models.skin_attention import appearance
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.train.clips import to_patches
from rppg.train.config import MaskConfig, ProjectConfig, TrainConfig
from rppg.train.run import TrainProgress, train
from rppg.types import FaceCrops, Pulse, Recording

CONFIG = TrainConfig(subjects=4, clip_s=5, stride_s=5, batch_size=4)


def unreadable() -> Pulse:
    raise AssertionError("training read a label")


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Four short recordings whose labels cannot be read."""

    def recording(number: int) -> Recording:
        crops = render_crops(draw_subject(DOMAINS["webcam"], number, 10.0))
        return Recording(
            f"webcam-{number}", "synthetic:webcam@1", str(number), lambda: crops, unreadable
        )

    return [recording(n) for n in range(310, 314)]


def same_bits(a: FcusNet, b: FcusNet) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_labels_are_not_read_and_the_same_seed_gives_the_same_bits(
    recordings: list[Recording],
) -> None:
    seen: list[TrainProgress] = []
    torch.manual_seed(1)
    one = train(CONFIG, recordings=recordings, progress=seen.append)
    torch.manual_seed(2)
    two = train(CONFIG, recordings=recordings)
    assert same_bits(one.net, two.net)
    clocks = {"seconds"}
    for a, b in zip(one.log, two.log, strict=True):
        for key in a.keys() - clocks:
            assert a[key] == b[key] or (math.isnan(a[key]) and math.isnan(b[key])), key
    assert not same_bits(
        one.net, train(CONFIG.model_copy(update={"seed": 1}), recordings=recordings).net
    )
    assert not one.net.training
    assert [p.step for p in seen] == [1, 2]
    assert {p.steps for p in seen} == {2}
    assert one.log[-1]["clips_seen"] == 8  # two clips a recording, each once
    assert one.provenance["clips_per_epoch"] == 8
    assert one.checkpoint is None


def test_training_leaves_the_callers_random_numbers_alone(recordings: list[Recording]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(CONFIG, recordings=recordings[:1])
    assert torch.equal(torch.rand(1), expected)


def test_every_parameter_that_can_learn_has_moved_and_the_loss_falls(
    recordings: list[Recording],
) -> None:
    result = train(CONFIG.model_copy(update={"epochs": 6, "lr": 1e-2}), recordings=recordings)
    fresh = dict(FcusNet(CONFIG.model).named_parameters())
    for name, value in result.net.named_parameters():
        if name.startswith("attention.encoder"):
            continue  # drawn at random: another draw here
        assert not torch.equal(value, fresh[name]), name
    losses = [row["loss"] for row in result.log]
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


@pytest.fixture(scope="module")
def one_dead(recordings: list[Recording]) -> list[Recording]:
    """The same, and one without a pulse."""
    return [*recordings, without_pulse(recordings[0], 310)]


@pytest.fixture(scope="module")
def every_level(one_dead: list[Recording]) -> FcusNet:
    """The network trained on these with all levels."""
    return train(CONFIG, recordings=one_dead).net


@pytest.mark.parametrize(
    "off", [("mask",), ("smooth",), ("project",), ("mask", "smooth", "project")]
)
def test_each_level_can_be_switched_off_and_matters(
    one_dead: list[Recording], every_level: FcusNet, off: tuple[str, ...]
) -> None:
    changed = train(CONFIG.model_copy(update=dict.fromkeys(off)), recordings=one_dead)
    assert all(math.isfinite(row["loss"]) for row in changed.log)
    assert not same_bits(changed.net, every_level)
    kept = [row["kept"] for row in changed.log]
    assert all(k == 1 for k in kept) if "mask" in off else all(0 < k < 1 for k in kept)


def test_projection_keeps_the_answer_to_the_background(recordings: list[Recording]) -> None:
    crops = [to_patches(recording.load_crops(), CONFIG.model) for recording in recordings]
    probe = tile_background(torch.stack([c[:150] for c in crops]))

    def drift(config: TrainConfig) -> float:
        """How far the encoder's answer to background moves, relative to what it was."""
        net = train(config, recordings=recordings).net
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            start = FcusNet(config.model)
        with torch.no_grad():
            traces, mean = net.traces(probe)
            features = appearance(traces, mean).flatten(0, 1)
            first, now = (n.attention.encoder[0](features) for n in (start, net))
        return float((now - first).norm() / first.norm())

    base = CONFIG.model_copy(update={"smooth": None, "epochs": 3})
    everything = ProjectConfig(energy=1.0, max_fraction=1.0)
    free = drift(base.model_copy(update={"project": None}))
    assert drift(base) < 0.8 * free
    assert drift(base.model_copy(update={"project": everything})) < 0.05 * free


def test_what_a_run_writes_can_be_read_back(recordings: list[Recording], tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    result = train(CONFIG, out=out, recordings=recordings)
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.json",
        "checkpoint.safetensors",
        "log.jsonl",
    ]
    assert result.checkpoint == out / "checkpoint.safetensors"
    net, about = load_checkpoint(result.checkpoint)
    assert same_bits(net, result.net)
    assert about["provenance"] == result.provenance
    assert TrainConfig.model_validate(about["provenance"]["config"]) == CONFIG
    assert about["provenance"]["datasets"] == ["synthetic:webcam@1"]
    assert about["provenance"]["recordings"] == 4

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[0]["gradient_cosine"] is None
    assert -1 <= rows[1]["gradient_cosine"] <= 1
    assert rows[1]["loss"] == result.log[1]["loss"]


@pytest.mark.parametrize("mask", [MaskConfig(), None])
def test_damaged_pictures_never_become_a_checkpoint(
    recordings: list[Recording], tmp_path: Path, mask: MaskConfig | None
) -> None:
    good = recordings[0].load_crops()
    frames = good.frames.astype(np.float32)
    frames[40:50, 10:20, 10:20] = np.nan
    damaged = FaceCrops(frames, good.times_s, good.valid)  # type: ignore[arg-type]
    bad = replace(recordings[0], load_crops=lambda: damaged)
    train(CONFIG, out=tmp_path, recordings=recordings)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"nan|finite"):
        train(
            CONFIG.model_copy(update={"mask": mask}),
            out=tmp_path,
            recordings=[bad, *recordings[1:]],
        )
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def without_pulse(recording: Recording, number: int) -> Recording:
    """Return a recording of the same people without blood."""
    crops = render_crops(draw_subject(DOMAINS["webcam"], number, 10.0), pulse_gain=0.0)
    return replace(recording, name=f"dead-{number}", load_crops=lambda: crops)


def test_the_mask_leaves_clips_without_a_pulse_out(recordings: list[Recording]) -> None:
    config = CONFIG.model_copy(update={"clip_s": 10.0, "stride_s": 10.0})

    def kept(people: list[Recording]) -> float:
        log = train(config, recordings=people).log
        return sum(row["kept"] * row["clips_seen"] for row in log) / log[-1]["clips_seen"]

    dead = [without_pulse(recordings[0], n) for n in range(310, 314)]
    assert kept(recordings) > 0.7
    assert kept(dead) < 0.3


def test_a_configuration_is_strict_about_names_and_ranges() -> None:
    for bad in ({"epoch": 2}, {"batch_size": 1}, {"clip_s": 1}, {"model": {"grid": 4}}):
        with pytest.raises(ValidationError):
            TrainConfig.model_validate(bad)
