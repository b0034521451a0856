"""Speed of prediction: frames a second of each network by the number of clips in a batch."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.parts import Setting, attempt
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig

BATCHES = {"cuda": (1, 4, 16, 64, 256), "cpu": (1, 4, 16)}
DRY_BATCHES = (1, 2)
FRAMES, DRY_FRAMES = 300, 90
LEAST_S = 1.0
"""A batch is repeated for so long, three times at least."""


def measure(setting: Setting) -> None:
    """Time each network; what is from file to crop is the CPU's work, and left out."""
    frames = DRY_FRAMES if setting.dry else FRAMES
    speeds: dict[str, dict[str, dict[str, Any]]] = {}
    for device in dict.fromkeys((setting.device, "cpu")):
        for name, (net, side) in networks(dry=setting.dry).items():
            net.eval()
            by_batch = speeds.setdefault(device, {}).setdefault(name, {})
            for batch in DRY_BATCHES if setting.dry else BATCHES[device]:
                shape = (batch, frames, 3, side, side)
                work = partial(speed, net, shape, device, dry=setting.dry)
                by_batch[str(batch)] = attempt(work)
                setting.save({"frames_in_a_clip": frames, "speeds": speeds})


def speed(net: nn.Module, shape: tuple[int, ...], device: str, *, dry: bool) -> dict[str, Any]:
    """Return the frames a second of a network, for clips of a shape."""
    clips = torch.rand(shape).mul_(255).to(device)
    return {"frames_per_s": shape[0] * shape[1] / seconds(net.to(device), clips, dry=dry)}


def networks(*, dry: bool) -> dict[str, tuple[nn.Module, int]]:
    """Return the networks and the sides of their frames."""
    found: dict[str, tuple[nn.Module, int]] = {"fcus": (FcusNet(ModelConfig()), 36)}
    for method in ("sinc", "contrast-phys"):
        config = PeerConfig.model_validate({"method": method}).model
        config = config.model_copy(update={"width": 4}) if dry else config
        found[method] = (PhysNet(config), config.side)
    return found


def seconds(net: nn.Module, clips: Tensor, *, dry: bool) -> float:
    """Return the seconds of one batch, the mean of several after a first one."""
    wait: Callable[[], None] = torch.cuda.synchronize if clips.is_cuda else _no_wait
    with torch.inference_mode():
        _waves(net, clips)
        wait()
        started, count = time.monotonic(), 0
        while count < (1 if dry else 3) or (time.monotonic() - started < LEAST_S and not dry):
            _waves(net, clips)
            wait()
            count += 1
    return (time.monotonic() - started) / count


def _no_wait() -> None:
    """Return at once: the CPU has finished when the call returns."""


def _waves(net: nn.Module, clips: Tensor) -> None:
    if isinstance(net, FcusNet):
        output = net(clips)
        net.verify(output, net.fuse(output))
    else:
        net(clips)
