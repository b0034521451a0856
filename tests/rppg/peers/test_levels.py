"""gradreg's levels on the peers: off as published, each trains, rejected recordings are inert."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gradreg
from rppg.errors import InputError
from rppg.estimators.pulse_score import PULSE_SCORE
from rppg.models.physnet import PhysNet
from rppg.peers.batches import peer_batches
from rppg.peers.clips import cut_background, find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.contrast_phys import contrast_loss
from rppg.peers.optimizer import build_optimizer, observe_background, projected_layers
from rppg.peers.selection import criterion
from rppg.peers.sinc import sinc_loss
from rppg.peers.train import PeerResult, train_peer
from rppg.peers.trainer import PeerTrainer
from rppg.train import verified
from rppg.train.resume import digest_of_run, settings_of
from rppg.train.run import TrainProgress
from rppg.types import FaceCrops, Pulse, Recording

METHODS = ("sinc", "contrast-phys")
TINY = {"epochs": 2, "clip_frames": 45, "stride_frames": 45, "batch_size": 3, "lr": 1e-3}
LEVELS: dict[str, dict[str, Any]] = {
    "mask": {"mask": {}},
    "one pass": {"smooth": {"rho": 0.5}},
    "two passes": {"smooth": {"rho": 0.5, "one_pass": False}},
    "project": {"project": {"observe_clips": 2}},
    "all": {
        "mask": {"threshold": 0.3},
        "smooth": {"one_pass": False, "rho": 0.05},
        "project": {"observe_clips": 2},
    },
    "all, one pass": {"mask": {}, "smooth": {}, "project": {"observe_clips": 2}},
}
PAIRS = [
    pytest.param(levels, method, marks=() if (row + column) % 2 == 0 else pytest.mark.slow)
    for row, levels in enumerate(LEVELS)
    for column, method in enumerate(METHODS)
]
"""All levels on all methods; by default each level on one, and each method with half of them."""
ALL_PAIRS = [pair for pair in PAIRS if str(pair.values[0]).startswith("all")]


def config_of(method: str, **given: object) -> PeerConfig:
    # a ReLU network as small as this one would be dead after a few steps
    model = {"width": 4, "side": 16, "fps": 15, "activation": "elu", "scaling": "standard"}
    model |= {"spatial": 1}
    return PeerConfig.model_validate({"method": method, **TINY, "model": model, **given})


def unreadable() -> Pulse:
    raise AssertionError("training read a label")


def record_of(number: int) -> Recording:
    """A noisy face whose colour beats."""
    generator = np.random.default_rng(number)
    times_s = np.arange(6 * 30 + 1) / 30
    beat = np.sin(2 * np.pi * (1.0 + 0.2 * number) * times_s)[:, None, None, None]
    frames = 120 + 4 * beat + 3 * generator.standard_normal((len(times_s), 36, 36, 3))
    crops = FaceCrops(frames.astype(np.uint8), times_s, np.ones(len(times_s), bool))
    return Recording(f"face-{number}", "faces", str(number), lambda: crops, unreadable)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [record_of(n) for n in range(7)]


def score_of(recordings: Sequence[Recording], scores: Mapping[int, float]) -> verified.Score:
    """Return a function that scores the recordings' crops, 1 unless another score is given."""
    known = {id(r.load_crops()): scores.get(n, 1.0) for n, r in enumerate(recordings)}
    return lambda crops: known[id(crops)]


def same_bits(a: PhysNet, b: PhysNet) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# ---- Without levels -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_without_levels_a_step_is_the_published_one_to_the_bit(
    recordings: list[Recording], method: str
) -> None:
    config = config_of(method)
    spans = find_spans([r.load_crops() for r in recordings], config.model, 45)

    def fresh() -> PhysNet:
        torch.manual_seed(3)
        return PhysNet(config.model)

    expected = fresh().train()
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.AdamW(
        expected.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    losses = []
    for batch in peer_batches(spans, config, generator):
        optimizer.zero_grad()
        waves = expected(batch.clips)
        if method == "sinc":
            loss = sinc_loss(waves[:, -1], 15.0, config.sinc, batch.speed)["loss"]
        else:
            loss = contrast_loss(waves, 15.0, config.contrast, generator)["loss"]
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()

    net = fresh()
    trainer = PeerTrainer(net, spans, spans[:1], config)
    assert type(trainer.optimizer) is torch.optim.AdamW
    trainer.start()
    rows = [trainer.step(batch) for batch in trainer.batches(skip=0)]
    assert [row["loss"] for row in rows] == losses
    assert "kept" not in rows[0]
    assert same_bits(net, expected)


def test_a_configuration_without_levels_is_what_it_was() -> None:
    config = PeerConfig()
    assert config.levels == () and (config.mask, config.smooth, config.project) == (None,) * 3
    assert not {"mask", "smooth", "project"} & set(config.model_dump(mode="json"))
    # The digest of the published settings, by which finished runs are recognised.
    digest = "31b18a371b0e2baed7e5237b12979f064d5d419f7fd57a8d41150be20e617a27"
    assert digest_of_run(settings_of("sinc", config)) == digest
    levels = config_of("sinc", **LEVELS["all"])
    assert levels.levels == ("mask", "smooth", "project")
    assert PeerConfig.model_validate(levels.model_dump(mode="json")) == levels
    assert digest_of_run(settings_of("sinc", levels)) != digest


# ---- With levels --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(recordings: list[Recording]) -> dict[str, PeerResult]:
    return {method: train_peer(config_of(method), recordings=recordings) for method in METHODS}


@pytest.mark.parametrize(("levels", "method"), PAIRS)
def test_every_level_trains_and_matters(
    recordings: list[Recording], plain: dict[str, PeerResult], levels: str, method: str
) -> None:
    config = config_of(method, **LEVELS[levels])
    score = score_of(recordings, {1: 0.01})
    result = train_peer(config, recordings=recordings, score=score)
    again = train_peer(config, recordings=recordings, score=score)
    assert same_bits(result.net, again.net)
    assert not same_bits(result.net, plain[method].net)
    torch.manual_seed(config.seed)
    assert not same_bits(result.net, PhysNet(config.model).eval())
    assert result.provenance["levels"] == list(config.levels)
    assert plain[method].provenance["levels"] == [] and "scores" not in plain[method].provenance
    if config.mask is not None:
        assert result.provenance["rejected"] == ["faces: face-1"]
        assert result.provenance["scores"]["faces: face-1"] == 0.01
        assert len(result.provenance["scores"]) == 6  # the seventh is held out
        kept = [round(3 * row["kept"]) for row in result.log]
        assert max(kept) == 3 > min(kept)
        assert result.provenance["skipped_steps"] == sum(clips < 2 for clips in kept)


@pytest.mark.parametrize(("levels", "method"), ALL_PAIRS)
def test_a_rejected_recording_has_no_influence(
    recordings: list[Recording], method: str, levels: str
) -> None:
    config = config_of(method, **LEVELS[levels], epochs=1)

    def trained(scores: Mapping[int, float], **others: Recording) -> PeerResult:
        used = [others.get(f"n{n}", r) for n, r in enumerate(recordings)]
        return train_peer(config, recordings=used, score=score_of(used, scores))

    bright = record_of(2)
    crops = bright.load_crops()
    noise = np.random.default_rng(9).integers(0, 255, crops.frames.shape).astype(np.uint8)
    other = replace(bright, load_crops=lambda: replaced)
    replaced = replace(crops, frames=noise)
    for score in (math.nan, 0.01):
        one, two = trained({2: score}), trained({2: score}, n2=other)
        assert same_bits(one.net, two.net)
        rows = [
            [{k: v for k, v in row.items() if k != "seconds"} for row in result.log]
            for result in (one, two)
        ]
        assert rows[0] == rows[1]
    assert not same_bits(trained({}).net, trained({}, n2=other).net)  # it has if it is kept


def test_a_damaged_recording_without_a_score_does_not_stop_the_run(
    recordings: list[Recording],
) -> None:
    crops = recordings[2].load_crops()
    damaged = replace(crops, frames=np.full(crops.frames.shape, np.nan, np.float32))  # type: ignore[arg-type]
    used = [*recordings]
    used[2] = replace(used[2], load_crops=lambda: damaged)
    for method in METHODS:
        config = config_of(method, mask={})
        result = train_peer(config, recordings=used, score=score_of(used, {2: math.nan}))
        assert result.provenance["scores"]["faces: face-2"] is None
        assert all(math.isfinite(row["loss"]) for row in result.log if not row["skipped"])


@pytest.mark.parametrize("method", METHODS)
def test_a_step_without_two_clips_to_compare_is_skipped(
    recordings: list[Recording], method: str
) -> None:
    config = config_of(method, mask={}, smooth={})
    spans = find_spans([r.load_crops() for r in recordings], config.model, 45)
    torch.manual_seed(0)
    net = PhysNet(config.model)
    trainer = PeerTrainer(net, spans, spans[:1], config, evidence={0: 1.0, 1: 1.0, 2: 0.01})
    trainer.start()
    net.train()
    batch = next(iter(peer_batches(spans, config, torch.Generator())))
    for videos, kept in (((2, 3, 4), 0), ((2, 0, 9), 1), ((0, 1, 2), 2), ((0, 0, 1), 3)):
        before = {name: value.clone() for name, value in net.state_dict().items()}
        drawn = trainer.generator.get_state()
        row = trainer.step(replace(batch, recordings=videos))
        changed = any(not torch.equal(v, before[name]) for name, v in net.state_dict().items())
        assert row["kept"] == pytest.approx(kept / 3)
        assert [bool(row["skipped"]), math.isnan(row["loss"]), not changed] == [kept < 2] * 3
        if kept < 2:
            assert torch.equal(drawn, trainer.generator.get_state())
    alone = replace(batch, clips=batch.clips[:1], speed=batch.speed[:1], recordings=(0,))
    if method == "sinc":  # an epoch's last batch may have one clip
        assert trainer.step(alone)["skipped"] == 0


def test_skipped_steps_are_in_the_log_and_too_few_recordings_an_error(
    recordings: list[Recording], tmp_path: Path
) -> None:
    config = config_of("contrast-phys", mask={}, batch_size=2, epochs=3)
    score = score_of(recordings, {0: math.nan, 1: 0.0, 2: 0.19})
    result = train_peer(config, recordings=recordings, score=score, out=tmp_path)
    skipped = [row["skipped"] for row in result.log]
    assert 0 < sum(skipped) == result.provenance["skipped_steps"] < len(skipped)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] is None for row in rows] == [bool(s) for s in skipped]

    low = dict.fromkeys(range(7), 0.01)
    one = score_of(recordings, low | {3: 0.9})
    with pytest.raises(
        InputError, match=r"1 of the 6 recordings.*0\.04 or more.*needs 2.*--no-mask"
    ):
        train_peer(config, recordings=recordings, score=one)
    train_peer(config_of("sinc", mask={}, epochs=1), recordings=recordings, score=one)
    with pytest.raises(InputError, match="0 of the 6 recordings"):
        train_peer(
            config_of("sinc", mask={}), recordings=recordings, score=score_of(recordings, low)
        )
    with pytest.raises(ValueError, match="mask judges evidence, found none"):
        PeerTrainer(PhysNet(config.model), [], [], config)


# ---- The landscape level ------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("smooth", [{"rho": 0.3}, {"rho": 0.3, "one_pass": False}])
def test_a_smoother_sees_the_batches_and_draws_of_a_run_without_it(
    recordings: list[Recording], method: str, smooth: dict[str, object]
) -> None:
    model = {**config_of(method).model.model_dump(), "dropout": 0.5}
    first, random = [], []
    for levels in ({}, {"smooth": smooth}):
        config = config_of(method, model=model, **levels)
        spans = find_spans([r.load_crops() for r in recordings], config.model, 45)
        torch.manual_seed(0)
        trainer = PeerTrainer(PhysNet(config.model), spans, spans[:1], config)
        trainer.start()
        rows = [trainer.step(batch) for batch in trainer.batches(skip=0)]
        first.append(rows[0])
        random.append((trainer.generator.get_state(), torch.get_rng_state()))
    assert first[0] == first[1]  # the loss is that at the unperturbed weights
    assert all(torch.equal(a, b) for a, b in zip(*random, strict=True))


def test_the_clean_weights_are_judged_kept_and_handed_out(recordings: list[Recording]) -> None:
    config = config_of("contrast-phys", smooth={"rho": 2.0})
    spans = find_spans([r.load_crops() for r in recordings], config.model, 45)
    seen: list[torch.Tensor] = []
    torch.manual_seed(0)
    net = PhysNet(config.model)

    def weight_of(given: PhysNet) -> torch.Tensor:
        return given.get_parameter("mix.weight").detach().clone()

    def on_epoch(given: PhysNet, state: object) -> None:
        seen.append(weight_of(given))

    trainer = PeerTrainer(net, spans, spans[:1], config, on_epoch)
    trainer.start()
    for batch in trainer.batches(skip=0):
        trainer.step(batch)
    perturbed = weight_of(net)
    trainer.end_epoch({"clips_seen": 1.0, "seconds": 1.0})
    assert torch.equal(weight_of(net), perturbed)
    with trainer.optimizer.unperturbed():
        clean = weight_of(net)
        expected = criterion(net.eval(), spans[:1], config)
    assert not torch.equal(clean, perturbed)
    assert torch.equal(seen[0], clean) and torch.equal(trainer.best_weights["mix.weight"], clean)
    assert trainer.epochs[0].criterion == expected


# ---- The feature level --------------------------------------------------------------------------


def test_the_background_is_that_beside_the_head() -> None:
    crops = record_of(0).load_crops()
    config = config_of("sinc").model
    (span,) = find_spans([crops], config, 90)
    seen = cut_background(span, 3, 40, config)
    assert seen.shape == (40, 3, 16, 16)
    head = crops.frames.copy()
    head[:, 6:, 6:30] = 0  # all but the border: the face, its chin and the shoulders
    (other,) = find_spans([replace(crops, frames=head)], config, 90)
    assert torch.equal(cut_background(other, 3, 40, config), seen)
    wall = crops.frames.copy()
    wall[:, :20, :6] = 0
    (other,) = find_spans([replace(crops, frames=wall)], config, 90)
    assert not torch.equal(cut_background(other, 3, 40, config), seen)


@pytest.mark.parametrize("method", METHODS)
def test_the_later_convolutions_keep_their_response_to_the_background(
    recordings: list[Recording], method: str
) -> None:
    config = config_of(method, project={"observe_clips": 3}, weight_decay=0.1)
    spans = find_spans([r.load_crops() for r in recordings], config.model, 45)
    torch.manual_seed(0)
    net = PhysNet(config.model)
    names = projected_layers(net)
    assert names[0] == "stages.0.2.0" and names[-1] == "mix"
    assert len(names) == (8 if config.model.halvings == 0 else 10)
    trainer = PeerTrainer(net, spans, spans[:1], config)
    state = torch.get_rng_state()
    statistics = {name: value.clone() for name, value in net.named_buffers()}
    trainer.start()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, statistics[name]) for name, value in net.named_buffers())
    weights = dict(net.named_parameters())
    before = {name: value.detach().clone() for name, value in weights.items()}
    for batch in trainer.batches(skip=0):
        trainer.step(batch)
    for name in names:
        weight = weights[f"{name}.weight"]
        change = (weight - before[f"{name}.weight"]).flatten(1).double()
        basis = trainer.optimizer.basis(weight)[0]
        assert 0 < basis.shape[1] <= weight[0].numel() / 4 and change.norm() > 0
        assert (change @ basis).norm() < 1e-3 * change.norm()
    for name in ("stem.0", "stages.0.1.0"):
        with pytest.raises(KeyError):
            trainer.optimizer.basis(weights[f"{name}.weight"])


def test_other_clips_are_observed_with_another_seed(recordings: list[Recording]) -> None:
    def moment(seed: int) -> torch.Tensor:
        config = config_of("sinc", project={"observe_clips": 1}, seed=seed)
        spans = find_spans([r.load_crops() for r in recordings], config.model, 45)
        torch.manual_seed(0)
        net = PhysNet(config.model)
        optimizer = build_optimizer(net, config)
        assert isinstance(optimizer, gradreg.NullSpaceProjector)
        observe_background(optimizer, net, spans, config)
        return optimizer.basis(net.get_parameter("mix.weight"))

    assert torch.equal(moment(1), moment(1))
    assert not torch.equal(moment(1), moment(2))


# ---- Runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("levels", "method"), ALL_PAIRS)
def test_a_run_with_levels_goes_on_to_the_same_bits(
    recordings: list[Recording], tmp_path: Path, method: str, levels: str
) -> None:
    config = config_of(method, **LEVELS[levels], epochs=3)
    score = score_of(recordings, {0: 0.01})
    run = partial(train_peer, config, recordings=recordings, score=score)
    whole = run(out=tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(progress: TrainProgress) -> None:
        if progress.row["epoch"] == 3:
            raise KilledError

    with pytest.raises(KilledError):
        run(out=tmp_path / "cut", progress=kill, save_every_s=0)
    seen: list[float] = []
    cut = run(out=tmp_path / "cut", resume=True, progress=lambda p: seen.append(p.row["epoch"]))
    assert seen[0] == 3
    assert same_bits(cut.net, whole.net)
    assert cut.provenance == whole.provenance

    with pytest.raises(KilledError):
        run(out=tmp_path / "other", progress=kill, save_every_s=0)
    with pytest.raises(InputError, match="differs in data"):
        run(out=tmp_path / "other", resume=True, score=score_of(recordings, {1: 0.01}))


Command = Callable[..., dict[str, Any]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that runs `rppg train`, and returns the provenance and what was printed."""
    from rppg.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str, toml: str) -> dict[str, Any]:
        Path("a.toml").write_text(toml)
        with pytest.raises(SystemExit) as ended:
            main(["train", "--data", "synthetic:lab", "--config", "a.toml", "--out", "run",
                  "--epochs", "1", *arguments])  # fmt: skip
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        made = json.loads(Path("run/checkpoint.json").read_text())["provenance"]
        return {**made, "printed": printed.out}

    return run


def test_the_command_switches_a_peers_levels(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "recording_score", lambda crops: 0.5)
    small = (
        'method = "sinc"\nsubjects = 3\nclip_frames = 90\nstride_frames = 200\n[model]\nwidth = 2\n'
    )
    made = command(toml=small)
    assert made["levels"] == [] and "Levels: none" in made["printed"]
    made = command("--mask", "--project", toml=small + "[project]\nobserve_clips = 1\n")
    assert made["levels"] == ["mask", "project"]
    assert made["config"]["mask"] == {"threshold": PULSE_SCORE}
    assert made["config"]["project"]["observe_clips"] == 1
    assert "Levels: mask, project" in made["printed"]
    assert "Mask: rejected 0 of 2 recordings; 0 steps skipped" in made["printed"]
    smooth = small + "[smooth]\nrho = 0.2\n"
    assert command(toml=smooth)["config"]["smooth"] == {"rho": 0.2, "one_pass": True}
    assert command("--no-smooth", "--no-mask", toml=smooth)["levels"] == []


def test_the_command_switches_the_levels_of_fcus(command: Command) -> None:
    small = "subjects = 2\nstride_s = 10\n[smooth]\nrho = 0.01\n"
    made = command("--mask", "--smooth", "--no-project", toml=small)
    assert made["config"]["smooth"] == {"rho": 0.01}
    assert made["config"]["mask"]["threshold"] == PULSE_SCORE and made["config"]["project"] is None
