"""The levels of gradreg and the networks of rppg: the device computes what the CPU computes.

Plain functions, for interpreters without pytest.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import gradreg
from benchmarks.gpu.parts import Setting, attempt
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig

STEPS = 5
TOLERANCE = 1e-6
"""Largest difference of a weight trained in float64, relative to the largest weight."""
NETWORK_TOLERANCE = 1e-2
"""Largest difference of a network's wave in float32, in standard deviations of the wave."""

LEVELS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "mask": {"mask": gradreg.AtLeast(0.2)},
    "smooth": {"smooth": 0.05},
    "smooth, one pass": {"smooth": {"one_pass": True, "rho": 0.3}},
    "project": {"project": 0.9},
    "all three": {"mask": gradreg.AtLeast(0.2), "smooth": 0.05, "project": 0.9},
}


def measure(setting: Setting) -> None:
    """Run each check; a difference above the tolerance, or an error, is a check that failed."""
    device = setting.device
    checks: dict[str, tuple[Callable[[], float], float]] = {
        f"gradreg, {level}": (partial(level_difference, level, device), TOLERANCE)
        for level in LEVELS
    }
    checks["gradreg, resumed on the CPU"] = (partial(resumed_difference, device), TOLERANCE)
    for name in ("fcus", "sinc", "contrast-phys"):
        difference = partial(network_difference, name, device, dry=setting.dry)
        checks[f"rppg, {name}"] = (difference, NETWORK_TOLERANCE)
    found: dict[str, dict[str, Any]] = {}
    for name, (check, tolerance) in checks.items():
        found[name] = {"passed": False, **attempt(partial(compare, check, tolerance))}
        setting.save(found)


def compare(check: Callable[[], float], tolerance: float) -> dict[str, Any]:
    """Return a check's difference, and whether it is within the tolerance."""
    difference = check()
    passed = difference <= tolerance
    return {"difference": difference, "tolerance": tolerance, "passed": passed}


def level_difference(level: str, device: str) -> float:
    """Return how far weights trained with a level on the device are from those on the CPU."""
    return _largest(_train(level, "cpu")[0], _train(level, device)[0])


def resumed_difference(device: str) -> float:
    """Return the same for a training with all levels that changes to the CPU half way."""
    net, state = _train("all three", device, steps=2)
    resumed, _ = _train("all three", "cpu", start=(net, state), first=2)
    return _largest(_train("all three", "cpu")[0], resumed)


def _train(
    level: str,
    device: str,
    *,
    first: int = 0,
    steps: int = STEPS,
    start: tuple[nn.Module, dict[str, Any]] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train a small network in float64, from step `first`; return it and the optimizer's state."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 2)).double()
    if start is not None:
        net.load_state_dict(copy.deepcopy(start[0]).cpu().state_dict())
    net.to(device)
    batches = [torch.randn(6, 3, 8, dtype=torch.float64) for _ in range(STEPS)]
    noise = torch.randn(4, 3, 8, dtype=torch.float64)
    base = torch.optim.AdamW(net.parameters(), lr=0.01)
    optimizer: Any = gradreg.regularize(base, net, **LEVELS[level])
    if "project" in LEVELS[level]:
        with torch.no_grad(), optimizer.observe_noise():
            net(noise.to(device))
    if start is not None:
        optimizer.load_state_dict(start[1])
    for batch in batches[first:steps]:
        inputs = batch.to(device)

        def closure(inputs: Tensor = inputs) -> Tensor:
            optimizer.zero_grad()
            output = net(inputs)
            if "mask" in LEVELS[level]:
                output, _ = optimizer.verify(output, evidence=inputs.mean((1, 2))[:, None].abs())
            loss: Tensor = (output - 1).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
    return net, optimizer.state_dict()


def _largest(one: nn.Module, other: nn.Module) -> float:
    first, second = (
        torch.cat([p.detach().cpu().flatten() for p in net.parameters()]) for net in (one, other)
    )
    return float((first - second).abs().max() / first.abs().max())


def network_difference(name: str, device: str, *, dry: bool) -> float:
    """Return how far a network's wave on the device is from that on the CPU; no TF32."""
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    frames = 90 if dry else 300
    clips = 120 + 3 * torch.randn(2, frames, 3, 36, 36)
    net: nn.Module
    if name == "fcus":
        net = FcusNet(ModelConfig())
    else:
        net, clips = (
            PhysNet(PeerConfig.model_validate({"method": name}).model),
            clips[..., :32, :32],
        )
    net.eval()
    with torch.no_grad():
        here = _wave(net, clips)
        there = _wave(net.to(device), clips.to(device)).cpu()
    return float((here - there).abs().max() / here.std())


def _wave(net: nn.Module, clips: Tensor) -> Tensor:
    wave: Tensor = net.fuse(net(clips)) if isinstance(net, FcusNet) else net(clips)[:, -1]
    return wave
