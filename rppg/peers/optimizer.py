"""A peer's optimizer: AdamW in gradreg's stack, and the noise that its projector observes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

import gradreg
from rppg.models.physnet import PhysNet
from rppg.peers.clips import Span, clip_starts, cut_background, cut_clip
from rppg.peers.config import PeerConfig
from rppg.peers.levels import PeerMaskConfig, PeerSmoothConfig

FREE_LAYERS = 2
"""The first convolutions, which the projector leaves out: their input is still the mean colour, in
which the pulse is."""
OBSERVED_S = 2.0
"""Seconds of a clip that are observed: more clips tell more than longer ones, at the same cost."""
EXACT_SIZE, SKETCH_ROWS = 512, 128
"""Features above this size are summarised by a sketch of so many rows: exactly, a layer's would
take up to 66 MB of every saved state."""


def build_optimizer(net: PhysNet, config: PeerConfig) -> torch.optim.Optimizer:
    """Return AdamW, wrapped in those of gradreg's levels that are switched on; bare without any."""
    mask, smooth, project = config.mask, config.smooth, config.project
    return gradreg.regularize(
        torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay),
        net,
        mask=None if mask is None else prior_of(mask),
        smooth=None if smooth is None else _smoother(smooth),
        project=None
        if project is None
        else {
            "energy": project.energy,
            "max_fraction": project.max_fraction,
            "include": projected_layers(net),
            "max_size": EXACT_SIZE,
            "sketch_size": SKETCH_ROWS,
        },
    )


def prior_of(mask: PeerMaskConfig) -> gradreg.AtLeast:
    """Return the prior that judges the recordings' scores."""
    return gradreg.AtLeast(mask.threshold)


def _smoother(smooth: PeerSmoothConfig) -> dict[str, Any]:
    """Return gradreg's arguments."""
    if smooth.one_pass:
        return {"one_pass": True, "rho": smooth.rho}
    # Both passes see the same dropout, so that they measure one loss at two places.
    return {"rho": smooth.rho, "replay_rng": True}


def projected_layers(net: PhysNet) -> list[str]:
    """Return the names of all convolutions but the first ones, in the order of the data."""
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv3d)]
    return names[FREE_LAYERS:]


def unperturbed(optimizer: Any) -> AbstractContextManager[None]:
    """Return a context in which the network has the weights to evaluate and keep."""
    if isinstance(optimizer, gradreg.OptimizerWrapper):
        return optimizer.unperturbed()
    return nullcontext()


def observe_background(
    optimizer: Any, net: PhysNet, spans: Sequence[Span], config: PeerConfig
) -> None:
    """Show the projector the background beside the head, which carries no pulse, as noise.

    The response of the later layers to it is then preserved: training may not turn them towards,
    or away from, the walls and lamps of the current camera.

    Args:
        net: the network, which is in training mode afterwards, its dropout excepted.
        spans: those to draw clips from.
    """
    if config.project is None:
        return
    frames = min(config.clip_frames, round(OBSERVED_S * config.model.fps))
    clips = [(span, first) for span in spans for first in clip_starts(span, frames, frames)]
    # A generator for this alone, so that runs with and without this level see the same batches.
    generator = torch.Generator().manual_seed(config.seed)
    chosen = torch.randperm(len(clips), generator=generator)[: config.project.observe_clips]
    device = next(net.parameters()).device
    for module in net.modules():  # as in training, but for dropout, which would hide features
        module.training = not isinstance(module, nn.Dropout3d)
    for index in chosen.tolist():
        span, first = clips[index]
        face = cut_clip(span, first, frames, config.model)
        background = cut_background(span, first, frames, config.model)
        # The face is in the batch for its statistics, by which BatchNorm scales both in training.
        with optimizer.observe_noise(torch.tensor([False, True], device=device)):
            net(torch.stack([face, background]).to(device))
