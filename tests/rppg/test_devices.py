"""Devices by name; on a GPU the network measures and learns what it does on the CPU."""

import numpy as np
import pytest
import torch

from rppg.data.specs import open_datasets
from rppg.devices import find_device
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig
from rppg.peers.train import train_peer
from rppg.train.config import TrainConfig
from rppg.train.run import train

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SMALL = TrainConfig(data=("synthetic:lab",), subjects=4, clip_s=5.0)


def test_devices_by_name() -> None:
    assert find_device("cpu") == torch.device("cpu")
    for name, message in (
        ("gpu", "no such kind; give cpu, cuda or cuda:1"),
        ("meta", "not supported"),
        ("cuda:99", "CUDA devices here"),
    ):
        with pytest.raises(InputError, match=f"--device {name}: .*{message}"):
            find_device(name)


def test_nothing_is_left_on_the_cpu() -> None:
    """On `meta` a tensor that was made elsewhere is an error, as it is on a GPU."""
    fcus = FcusNet(ModelConfig()).to("meta")
    output = fcus(torch.empty(2, 150, 3, 36, 36, device="meta"))
    assert fcus.fuse(output).device.type == "meta"
    peer = PhysNet(PeerConfig().model).to("meta")
    assert peer(torch.empty(2, 120, 3, 32, 32, device="meta")).device.type == "meta"


@CUDA
def test_a_gpu_measures_what_the_cpu_does() -> None:
    (recording,) = open_datasets(["synthetic:lab"], split="test", subjects=1)
    frames = recording.load_crops().frames.astype(np.float32)
    there = FcusEstimator(untrained().net.to("cuda"))(frames, 30.0)
    here = untrained()(frames, 30.0)
    assert np.max(np.abs(there - here)) < 1e-2 * np.std(here)


@CUDA
def test_a_gpu_learns_what_the_cpu_does() -> None:
    here, there = train(SMALL), train(SMALL, device="cuda")
    assert there.net.fusion_power.device.type == "cpu"
    for one, other in zip(here.log, there.log, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=0.02)


@CUDA
def test_a_peer_learns_on_a_gpu_in_half_precision() -> None:
    config = PeerConfig.model_validate(
        {"subjects": 4, "epochs": 1, "precision": "bfloat16", "model": {"width": 8}}
    )
    assert np.isfinite(train_peer(config, device="cuda").log[-1]["loss"])


@CUDA
def test_a_peer_learns_on_a_gpu_with_every_level() -> None:
    model = {"width": 8}
    fields = {"subjects": 4, "epochs": 1, "mask": {}, "smooth": {}, "project": {}, "model": model}
    for method in ("sinc", "contrast-phys"):
        config = PeerConfig.model_validate({"method": method, **fields})
        log = train_peer(config, device="cuda", score=lambda crops: 0.5).log
        assert np.isfinite(log[-1]["loss"]) and log[-1]["kept"] == 1
