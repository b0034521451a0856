"""Peers' training: without labels, bit for bit, the best epoch kept; command and checkpoints."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rppg.errors import InputError
from rppg.estimators.find import load_estimator
from rppg.estimators.physnet import PeerEstimator
from rppg.models.checkpoint import load_checkpoint, load_network, save_checkpoint
from rppg.models.physnet import PhysNet
from rppg.peers import trainer
from rppg.peers.batches import peer_batch_sizes, peer_batches
from rppg.peers.clips import find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.train import PeerResult, train_peer
from rppg.peers.trainer import EpochState
from rppg.train.run import TrainProgress
from rppg.types import FaceCrops, Pulse, Recording

METHODS = ("sinc", "contrast-phys")
TINY = {"epochs": 2, "clip_frames": 90, "stride_frames": 60, "batch_size": 3, "lr": 1e-3}


def config_of(method: str, **given: object) -> PeerConfig:
    batch = {} if method == "sinc" else {"batch_size": 2}
    return PeerConfig.model_validate(
        {"method": method, **TINY, **batch, "model": {"width": 8}, **given}
    )


def unreadable() -> Pulse:
    raise AssertionError("training read a label")


def record_of(number: int, seconds: float = 6.0) -> Recording:
    """A noisy face whose colour beats; its label cannot be read."""
    generator = np.random.default_rng(number)
    times_s = np.arange(int(seconds * 30) + 1) / 30
    beat = np.sin(2 * np.pi * (1.0 + 0.2 * number) * times_s)[:, None, None, None]
    frames = 120 + 4 * beat + 3 * generator.standard_normal((len(times_s), 36, 36, 3))
    crops = FaceCrops(frames.astype(np.uint8), times_s, np.ones(len(times_s), bool))
    return Recording(f"face-{number}", "faces", str(number), lambda: crops, unreadable)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [record_of(n) for n in range(6)]


def same_bits(a: PhysNet, b: PhysNet) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_not_read_and_the_same_seed_gives_the_same_bits(
    recordings: list[Recording], method: str
) -> None:
    config, recordings = config_of(method), recordings[:4]
    seen: list[TrainProgress] = []
    states: list[EpochState] = []

    def on_epoch(net: PhysNet, state: EpochState) -> None:
        assert not net.training
        torch.rand(7)  # changes nothing
        states.append(state)

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train_peer(config, recordings=recordings, progress=seen.append, on_epoch=on_epoch)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = train_peer(config, recordings=recordings)
    assert same_bits(one.net, two.net)
    assert [s.criterion for s in one.epochs] == [s.criterion for s in two.epochs]
    assert one.provenance["criterion"] == two.provenance["criterion"]
    assert not same_bits(one.net, train_peer(config_of(method, seed=1), recordings=recordings).net)
    assert states == one.epochs and [s.epoch for s in states] == [1, 2]
    assert 0 < states[0].train_s < states[1].train_s
    steps, clips = len(one.log), one.provenance["clips_per_epoch"]
    assert [p.step for p in seen] == list(range(1, steps + 1)) and {p.steps for p in seen} == {
        steps
    }
    assert [s.clips_seen for s in states] == [clips, 2 * clips]
    assert all(math.isfinite(row["loss"]) for row in one.log)
    assert not one.net.training


def test_the_criterion_is_the_recipes_own_on_recordings_not_trained_on(
    recordings: list[Recording],
) -> None:
    """The last recording decides the criterion and touches no weight."""
    for method in METHODS:
        # ELU: a ReLU network as small as this one is dead after so few steps
        model = {"width": 8, "activation": "elu", "scaling": "standard"}
        config = config_of(method, epochs=1, model=model)
        plain = train_peer(config, recordings=recordings)
        other = train_peer(config, recordings=[*recordings[:-1], record_of(77)])
        assert same_bits(plain.net, other.net)
        assert plain.epochs[0].criterion != other.epochs[0].criterion
        assert plain.provenance["held_out"] == 1 and plain.provenance["recordings"] == 6
        spans = find_spans([recordings[-1].load_crops()], config.model, 90)
        assert trainer.criterion(plain.net, spans, config) == plain.epochs[0].criterion


@pytest.mark.parametrize(
    "scores",
    [[3.0, 1.0, 2.0], pytest.param([1.0, 2.0, 3.0], marks=pytest.mark.slow), [math.nan, 2.0, 1.0]],
)
def test_the_weights_of_the_best_epoch_are_kept(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch, scores: list[float]
) -> None:
    given = iter(scores)
    monkeypatch.setattr(trainer, "criterion", lambda *_: next(given))
    weights: list[dict[str, torch.Tensor]] = []

    def on_epoch(net: PhysNet, state: EpochState) -> None:
        weights.append({name: value.clone() for name, value in net.state_dict().items()})

    result = train_peer(config_of("sinc", epochs=3), recordings=recordings[:3], on_epoch=on_epoch)
    best = int(np.nanargmin(scores))
    assert result.provenance["best_epoch"] == best + 1
    for name, value in result.net.state_dict().items():
        assert torch.equal(value, weights[best][name]), name
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_a_run_stops_where_the_callback_or_patience_says(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(on_epoch: Callable[[PhysNet, EpochState], bool] | None, **given: object) -> int:
        config = config_of("contrast-phys", epochs=9, **given)
        return len(train_peer(config, recordings=recordings[:4], on_epoch=on_epoch).epochs)

    assert stopped(lambda _, state: state.epoch == 3) == 3
    scores = iter([5.0, 4.0, 6.0, 6.0, 1.0])
    monkeypatch.setattr(trainer, "criterion", lambda *_: next(scores))
    assert stopped(None, patience=2) == 4


def test_an_epoch_of_sinc_is_every_clip_once_and_of_contrast_phys_every_video() -> None:
    crops = [record_of(n, 10.0).load_crops() for n in range(5)]
    sinc = config_of("sinc")
    spans = find_spans(crops, sinc.model, 90)
    assert peer_batch_sizes(spans, sinc) == [3] * 6 + [2]  # 4 clips of each
    contrast = config_of("contrast-phys", stride_frames=90)
    assert peer_batch_sizes(spans, contrast) == [2] * (3 * 2)  # 3 passes, the fifth video left over
    for config in (sinc, contrast):
        generator = torch.Generator().manual_seed(0)
        found = list(peer_batches(spans, config, generator))
        assert [len(b.clips) for b in found] == peer_batch_sizes(spans, config)
        assert all(b.clips.shape[1:] == (90, 3, 32, 32) for b in found)
        speed = torch.cat([b.speed for b in found])
        assert bool((speed == 1).all()) is (config is contrast)
    with pytest.raises(InputError, match=r"1 recordings.*compares 2"):
        peer_batch_sizes(spans[:1], contrast)


def test_what_is_not_given_is_as_published() -> None:
    sinc, contrast = PeerConfig(), PeerConfig(method="contrast-phys")
    published = [
        (c.clip_frames, c.stride_frames, c.batch_size, c.lr, c.epochs, c.model.dropout)
        for c in (sinc, contrast)
    ]
    assert published == [(120, 60, 20, 1e-4, 200, 0.5), (300, 300, 2, 1e-5, 30, 0.0)]
    assert (sinc.model.spatial, contrast.model.spatial) == (1, 2)
    mine = PeerConfig.model_validate(
        {"method": "contrast-phys", "lr": 1e-3, "model": {"side": 128}}
    )
    assert (mine.lr, mine.model.side, mine.model.spatial, mine.clip_frames) == (1e-3, 128, 2, 300)
    assert PeerConfig.model_validate(mine.model_dump(mode="json")) == mine
    for bad in (
        {"method": "simper"},
        {"clip_s": 5},
        {"clip_frames": 60},
        {"method": "contrast-phys", "batch_size": 1},
        {"model": {"depth": 3}},
    ):
        with pytest.raises(ValidationError):
            PeerConfig.model_validate(bad)


def test_damaged_pictures_and_too_few_recordings_are_told(recordings: list[Recording]) -> None:
    good = recordings[0].load_crops()
    frames = good.frames.astype(np.float32)
    frames[40] = np.nan
    damaged = FaceCrops(frames, good.times_s, good.valid)  # type: ignore[arg-type]
    bad = replace(recordings[0], load_crops=lambda: damaged)
    with pytest.raises(InputError, match="loss is nan at step"):
        train_peer(config_of("sinc"), recordings=[bad, *recordings[1:3]])
    with pytest.raises(InputError, match=r"1 recordings.*two or more"):
        train_peer(config_of("sinc"), recordings=recordings[:1])
    result = train_peer(
        config_of("sinc", epochs=1), recordings=[*recordings[:3], record_of(9, 1.5)]
    )
    assert list(result.skipped) == ["faces: face-9"]


@pytest.fixture(scope="module")
def saved(recordings: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> PeerResult:
    out = tmp_path_factory.mktemp("peer")
    return train_peer(config_of("contrast-phys", epochs=1), out=out, recordings=recordings)


def test_a_checkpoint_comes_back_as_the_network_that_it_names(saved: PeerResult) -> None:
    assert saved.checkpoint is not None
    net, about = load_network(saved.checkpoint)
    assert isinstance(net, PhysNet) and not net.training and same_bits(net, saved.net)
    assert about["network"] == "physnet" and about["provenance"] == saved.provenance
    estimator = load_estimator(saved.checkpoint)
    assert isinstance(estimator, PeerEstimator) and estimator.clip_frames == 90
    frames = np.random.default_rng(0).uniform(0, 255, (150, 36, 36, 3)).astype(np.float32)
    assert np.array_equal(estimator(frames, 30.0), PeerEstimator(saved.net, 90)(frames, 30.0))
    with pytest.raises(InputError, match=r"checkpoint of physnet.*fcus"):
        load_checkpoint(saved.checkpoint)
    rows = saved.checkpoint.with_name("log.jsonl").read_text().splitlines()
    assert [json.loads(row)["loss"] for row in rows] == [row["loss"] for row in saved.log]


def test_a_description_with_another_network_or_without_clips_is_refused(
    saved: PeerResult, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    for made in ({}, {"config": {"clip_frames": "x"}}, {"config": {"clip_frames": 3}}):
        save_checkpoint(path, saved.net, made)
        with pytest.raises(InputError, match="clip_frames") as caught:
            load_estimator(path)
        assert str(caught.value).startswith(str(path.with_suffix(".json")))
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"network": "deepphys"}))
    with pytest.raises(InputError, match=r"'deepphys'.*fcus, physnet"):
        load_network(path)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"network": "fcus"}))
    with pytest.raises(InputError, match="not a checkpoint's description"):
        load_network(path)


@pytest.mark.parametrize("method", ["sinc", pytest.param("contrast-phys", marks=pytest.mark.slow)])
def test_the_command_trains_a_peer_that_evaluate_and_predict_take(
    tmp_path: Path,
    write: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
) -> None:
    from rppg.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")

    def rppg(*arguments: object) -> str:
        """What the command prints; within this process, which spares the start."""
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return printed.out

    (tmp_path / "peer.toml").write_text(
        "subjects = 3\nclip_frames = 90\nstride_frames = 200\nbatch_size = 2\n[model]\nwidth = 4\n"
    )
    printed = rppg("train", "--method", method, "--data", "synthetic:lab", "--config", "peer.toml",
                   "--epochs", 2, "--out", "run")  # fmt: skip
    assert f"Method: {method}" in printed and "of 2, with the lowest criterion" in printed
    made = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["provenance"]
    assert made["config"]["method"] == method and made["config"]["epochs"] == 2
    assert made["recordings"] == 3 and made["held_out"] == 1
    printed = rppg("evaluate", "--data", "synthetic:lab", "--subjects", 1, "--json",
                   "--checkpoint", "run/checkpoint.safetensors")  # fmt: skip
    document = json.loads(printed)
    assert "run/checkpoint.safetensors" in json.dumps(document)
    if method == "sinc":
        write.video(tmp_path / "face.avi", 12)
        printed = rppg("predict", "face.avi", "--full-frame", "--json",
                       "--checkpoint", "run/checkpoint.safetensors")  # fmt: skip
        (video,) = json.loads(printed)["videos"]
        assert video["frames"] > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "sinc", "--adapt"], "--adapt: method sinc can't be adapted"),
        (["--method", "sinc", "--config", "levels.toml"], "levels.toml: mask.quantile = 0.8"),
        (["--method", "simper"], "no method 'simper'; choose one of fcus, sinc, contrast-phys"),
        (["--method", "sinc", "--config", "fcus.toml"], "fcus.toml: clip_s = 5.0"),
        (["--config", "peer.toml"], "peer.toml: Value error, contrast-phys compares videos"),
    ],
)
def test_what_a_method_does_not_know_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    from rppg.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    Path("fcus.toml").write_text("clip_s = 5.0\n")
    Path("levels.toml").write_text("[mask]\nquantile = 0.8\n")
    Path("peer.toml").write_text('method = "contrast-phys"\nbatch_size = 1\n')
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "synthetic:lab", *arguments])
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip()
    assert message in line and "\n" not in line
