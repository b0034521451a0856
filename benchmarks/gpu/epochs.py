"""One epoch of each method on the device and on the CPU: the same losses, and how much faster.

Dropout is off, since each device draws its own. The device is timed as users have it, and compared
once more without TF32, the shorter floats of cuDNN's convolutions.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.parts import Setting, attempt
from benchmarks.gpu.recordings import simple_crops
from rppg.models.fcus import FcusNet
from rppg.models.physnet import PhysNet
from rppg.peers.clips import find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.trainer import fit_peer
from rppg.train.clips import cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.loop import LogRow
from rppg.types import FaceCrops

FIRST, LARGEST = 1e-3, 0.05
"""Largest differences of a loss, relative to the largest loss: of the first step, before the
trainings can part, and of all."""
DURATION_S, RECORDINGS = 20.0, 12
DRY_DURATION_S, DRY_RECORDINGS = 6.0, 3

Rows = Sequence[LogRow]


def measure(setting: Setting) -> None:
    """Train each method for an epoch, three times."""
    crops = (
        simple_crops(DRY_RECORDINGS, DRY_DURATION_S)
        if setting.dry
        else simple_crops(RECORDINGS, DURATION_S)
    )
    found: dict[str, Any] = {}
    for method in ("fcus", "sinc", "contrast-phys"):
        found[method] = attempt(partial(compare, method, crops, setting))
        setting.save(found)


def compare(method: str, crops: Sequence[FaceCrops], setting: Setting) -> dict[str, Any]:
    """Train a method on the device, twice, and on the CPU."""
    train = partial(one_epoch, method, dry=setting.dry)
    torch.backends.cudnn.allow_tf32 = True
    train(crops[:3], setting.device)  # the first one starts slowly
    timed = train(crops, setting.device)
    torch.backends.cudnn.allow_tf32 = False
    exact, cpu = train(crops, setting.device), train(crops, "cpu")
    return {
        "clips": int(timed[-1]["clips_seen"]),
        "steps": len(timed),
        "device_clips_per_s": clips_per_s(timed),
        "cpu_clips_per_s": clips_per_s(cpu),
        "cpu_threads": torch.get_num_threads(),
        "times_faster": clips_per_s(timed) / clips_per_s(cpu),
        "first_loss": cpu[0]["loss"],
        "without_tf32": differences(cpu, exact),
        "with_tf32": differences(cpu, timed),
        "same": is_same(cpu, exact),
    }


def one_epoch(method: str, crops: Sequence[FaceCrops], device: str, *, dry: bool) -> Rows:
    """Train a new network for an epoch as published; return the log."""
    torch.manual_seed(0)
    if method == "fcus":
        config = TrainConfig(clip_s=5.0 if dry else 10.0)
        clip_set = cut_clips(crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
        return fit_fcus(FcusNet(config.model).to(device), clip_set, config)
    fields: dict[str, Any] = {"method": method, "epochs": 1, "model": {"dropout": 0.0}}
    if dry:
        fields |= {"clip_frames": 90, "stride_frames": 90, "model": {"dropout": 0.0, "width": 4}}
    peer = PeerConfig.model_validate(fields)
    spans = find_spans(crops, peer.model, peer.clip_frames)
    last = spans[-1].recording
    training = [span for span in spans if span.recording < last]
    held_out = [span for span in spans if span.recording == last]
    log, _ = fit_peer(PhysNet(peer.model).to(device), training, held_out, peer)
    return log


def clips_per_s(log: Rows) -> float:
    """Return the speed of an epoch, without its first step if it has several."""
    first = log[0] if len(log) > 1 else {"clips_seen": 0.0, "seconds": 0.0}
    seconds = log[-1]["seconds"] - first["seconds"]
    return (log[-1]["clips_seen"] - first["clips_seen"]) / max(seconds, 1e-9)


def differences(one: Rows, other: Rows) -> dict[str, float]:
    """Return the differences of two logs' losses, relative to the largest loss."""
    apart = [abs(a["loss"] - b["loss"]) for a, b in zip(one, other, strict=True)]
    scale = max(abs(row["loss"]) for row in one)
    return {"first": apart[0] / scale, "largest": max(apart) / scale}


def is_same(one: Rows, other: Rows) -> bool:
    """Return whether two trainings made the same steps, within `FIRST` and `LARGEST`."""
    found = differences(one, other)
    return found["first"] <= FIRST and found["largest"] <= LARGEST
