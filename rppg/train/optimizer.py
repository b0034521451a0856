"""FCUS's optimizer: AdamW in gradreg's stack, and the noise that its projector observes."""

from typing import Any

import torch
from torch import nn

import gradreg
from rppg.models.fcus import FcusNet
from rppg.models.patches import tile_background
from rppg.train import distributed
from rppg.train.clips import ClipSet
from rppg.train.config import ProjectConfig, TrainConfig


def physics_of(net: FcusNet) -> list[nn.Parameter]:
    """Return the parameters outside of the attention: ridges, choice and fusion."""
    attention = {id(p) for p in net.attention.parameters()}
    return [p for p in net.parameters() if id(p) not in attention]


def build_optimizer(net: FcusNet, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW, wrapped in those of gradreg's levels that are switched on."""
    attention, physics = list(net.attention.parameters()), physics_of(net)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        [
            {"params": attention, "lr": config.lr, "weight_decay": config.weight_decay},
            {"params": physics, "lr": config.lr_physics, "weight_decay": 0.0},
        ]
    )
    mask, smooth, project = config.mask, config.smooth, config.project
    return gradreg.regularize(
        optimizer,
        net,
        mask=None if mask is None else gradreg.AtLeast(mask.threshold),
        smooth=None if smooth is None else smooth.rho,
        project=None
        if project is None
        else {
            "energy": project.energy,
            "max_fraction": project.max_fraction,
            "include": ["attention.*"],
        },
    )


def observe_background(
    optimizer: Any, net: FcusNet, clip_set: ClipSet, config: ProjectConfig, seed: int
) -> None:
    """Show the projector the background beside the head, which carries no pulse, as noise.

    The response of the attention's layers to it is then preserved: training may not turn them
    towards, or away from, the walls and lamps of the current camera.
    """
    # A generator for this alone, so that runs with and without this level see the same batches.
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(clip_set.clips), generator=generator)[: config.observe_clips]
    weights = net.fusion_power
    for first in range(0, len(chosen), distributed.world_size()):
        with torch.no_grad(), optimizer.observe_noise():  # all ranks enter and leave together
            for index in chosen[first + distributed.rank() :][:1].tolist():
                clip = tile_background(clip_set.cut(index)[None].to(weights.device, weights.dtype))
                net.attention(*net.traces(clip))
