"""The epoch's choice by a reference estimator: the criterion, its targets, and whole runs."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rppg.errors import InputError
from rppg.models.physnet import PhysNet
from rppg.peers.clips import find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.selection import Target, criterion_by_reference, find_targets, held_out_clips
from rppg.peers.train import train_peer
from rppg.peers.trainer import EpochState, PeerTrainer
from rppg.train.run import TrainProgress
from rppg.types import FaceCrops, Pulse, Recording

RATES_HZ = (1.0, 1.3, 1.6, 1.9, 0.9)


def config_of(**given: object) -> PeerConfig:
    model = {"width": 4, "side": 16, "fps": 15, "activation": "elu", "scaling": "standard"}
    tiny = {"epochs": 3, "clip_frames": 75, "stride_frames": 75, "batch_size": 3, "lr": 1e-3}
    return PeerConfig.model_validate({**tiny, "model": model, "select": "reference", **given})


def crops_of(number: int, seconds: float = 11.0) -> FaceCrops:
    """Noise; the reference estimator of these tests knows the rate."""
    generator = np.random.default_rng(number)
    times_s = np.arange(int(seconds * 25) + 1) / 25  # not the network's rate, nor the protocol's
    frames = 120 + 9 * generator.standard_normal((len(times_s), 24, 24, 3))
    return FaceCrops(frames.astype(np.uint8), times_s, np.ones(len(times_s), bool))


def wave_at(hz: float) -> Callable[[FaceCrops], np.ndarray]:
    return lambda crops: np.sin(
        2 * np.pi * hz * np.arange(int(crops.duration_s * 30 + 1e-6) + 1) / 30
    )


def unreadable() -> Pulse:
    raise AssertionError("training read a label")


def record_of(number: int) -> Recording:
    crops = crops_of(number)
    return Recording(f"face-{number}", "faces", str(number), lambda: crops, unreadable)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [record_of(n) for n in range(4)]


class Waves(nn.Module):
    """A network that puts out waves of its own, whatever it sees."""

    def __init__(self, *waves: Tensor) -> None:
        super().__init__()
        self.waves = nn.Parameter(torch.stack(waves), requires_grad=False)

    def forward(self, clips: Tensor) -> Tensor:
        return self.waves[: len(clips), None]


def test_the_criterion_is_the_power_away_from_the_pulse_and_its_double() -> None:
    config = config_of(clip_frames=600)
    (span,) = find_spans([crops_of(0, 41.0)], config.model, 600)
    seconds = torch.arange(600) / 15

    def away(*waves: Tensor, pulse_hz: float = 1.2) -> float:
        targets = [Target((span, 0), pulse_hz)] * len(waves)
        return criterion_by_reference(Waves(*waves), targets, config)  # type: ignore[arg-type]

    def sine(hz: float) -> Tensor:
        return torch.sin(2 * math.pi * hz * seconds)

    pulse, lamp = sine(1.2), sine(2.0)
    assert away(pulse) < 0.01 and away(sine(2.4)) < 0.01 and away(-5 * pulse + 3) < 0.01
    assert away(lamp) > 0.99 and away(sine(1.45)) > 0.98
    assert away(pulse + lamp) == pytest.approx(0.5, abs=0.01)
    assert away(pulse + 0.5 * sine(2.4) + 0.5 * lamp) == pytest.approx(1 / 6, abs=0.01)
    assert away(pulse + 9 * sine(0.2) + 9 * sine(6.0)) < 0.05  # outside of the band
    assert away(torch.zeros(600)) == 1
    assert away(pulse, lamp) == pytest.approx(0.5, abs=0.01)
    assert away(sine(2.0), pulse_hz=2.0) < 0.01


def test_targets_are_the_peaks_of_the_references_wave_in_each_clip() -> None:
    config = config_of()
    crops = [crops_of(0), crops_of(1), crops_of(2)]
    spans = find_spans(crops, config.model, 75)
    assert [first for _, first in held_out_clips(spans[:1], config)] == [0, 75]
    seconds = np.arange(331) / 30
    turning = np.sin(2 * np.pi * np.where(seconds < 5, 1.0, 2.0) * seconds)
    late = turning.copy()
    late[200:] = np.nan
    found = find_targets(spans, {0: turning, 2: late}, config)
    assert [(t.clip[0].recording, t.clip[1]) for t in found] == [(0, 0), (0, 75), (2, 0)]
    assert [round(t.pulse_hz, 1) for t in found] == [1.0, 2.0, 1.0]
    with pytest.raises(ValueError, match=r"\(331,\) at 30 Hz, found \(300,\)"):
        find_targets(spans, {0: turning[:300]}, config)


@pytest.mark.parametrize("method", ["sinc", "contrast-phys"])
def test_the_epoch_with_the_most_power_at_the_references_pulse_is_kept(
    recordings: list[Recording], method: str
) -> None:
    config = config_of(method=method, model={**config_of().model.model_dump(), "spatial": 1})
    nets: list[dict[str, Tensor]] = []

    def on_epoch(net: PhysNet, state: EpochState) -> None:
        nets.append({name: value.clone() for name, value in net.state_dict().items()})

    run = partial(train_peer, config, recordings=recordings, score=lambda crops: 0.5)
    result = run(reference=wave_at(1.5), on_epoch=on_epoch)
    (span,) = find_spans([recordings[-1].load_crops()], config.model, 75)
    targets = find_targets([replace(span, recording=0)], {0: wave_at(1.5)(span.crops)}, config)
    found = []
    for weights in nets:
        net = PhysNet(config.model).eval()
        net.load_state_dict(weights)
        found.append(criterion_by_reference(net, targets, config))
    assert [epoch.criterion for epoch in result.epochs] == found
    best = int(np.argmin(found))
    assert result.provenance["best_epoch"] == best + 1
    for name, value in result.net.state_dict().items():
        assert torch.equal(value, nets[best][name]), name
    assert result.provenance["references"] == ["faces: face-3"]
    assert result.provenance["scores"] == {"faces: face-3": 0.5}
    assert result.provenance["config"]["select"] == "reference"
    assert run(reference=wave_at(2.5)).provenance["criterion"] != found


def test_held_out_recordings_without_a_pulse_choose_nothing() -> None:
    many = [record_of(n) for n in range(20)]  # two are held out
    config = config_of(epochs=1)
    dead = many[19].load_crops()
    run = partial(train_peer, config, score=lambda crops: 0.01 if crops is dead else 0.3)
    result = run(recordings=many, reference=wave_at(1.5))
    assert result.provenance["references"] == ["faces: face-18"]
    assert result.provenance["rejected"] == [] and "skipped_steps" not in result.provenance
    assert sorted(result.provenance["scores"]) == ["faces: face-18", "faces: face-19"]

    def wave(crops: FaceCrops) -> np.ndarray:
        assert crops is not dead
        return wave_at(1.5)(crops)

    assert run(recordings=many, reference=wave).epochs[0].criterion == result.epochs[0].criterion
    high = config_of(epochs=1, mask={"threshold": 0.4})
    with pytest.raises(InputError, match="0 of the 18 recordings to train on"):
        train_peer(high, recordings=many, score=lambda crops: 0.3)
    with pytest.raises(InputError, match=r"none of the 2 held-out.*0\.04 or more.*select = own"):
        train_peer(config, recordings=many, score=lambda crops: math.nan)
    with pytest.raises(ValueError, match="found no targets"):
        PeerTrainer(PhysNet(config.model), [], [], config)


def test_a_run_by_the_reference_goes_on_to_the_same_bits(
    recordings: list[Recording], tmp_path: Path
) -> None:
    run = partial(
        train_peer,
        config_of(mask={}, smooth={}),
        recordings=recordings,
        score=lambda crops: 0.5,
        reference=wave_at(1.5),
    )
    whole = run(out=tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(progress: TrainProgress) -> None:
        if progress.row["epoch"] == 3:
            raise KilledError

    with pytest.raises(KilledError):
        run(out=tmp_path / "cut", progress=kill, save_every_s=0)
    cut = run(out=tmp_path / "cut", resume=True)
    assert cut.provenance == whole.provenance
    for name, value in cut.net.state_dict().items():
        assert torch.equal(value, whole.net.state_dict()[name]), name
