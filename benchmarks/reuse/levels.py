"""A stack of wrappers from a flat dictionary of options; a level without options is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import gradreg
from gradreg.priors import PriorLike

Options = Mapping[str, Any]

LEVELS: Mapping[str, Sequence[str]] = {
    "mask": ("mask",),
    "smooth": ("rho",),
    "project": ("clear",),
}
"""Each level's options; a task's search space has these and the optimizer's.

mask    the prior's one number
rho     SAM's radius
clear   whether the weights' response to noise is removed before the first step: True, False, or
        "only", which removes it and then doesn't project, so that only the first weights differ
"""


def wrap(
    optimizer: Optimizer, model: nn.Module | None, prior: PriorLike | None, options: Options
) -> Optimizer:
    """Wrap an optimizer in the levels that have options, in the canonical order."""
    if "clear" in options:
        optimizer = gradreg.NullSpaceProjector(optimizer, model, energy=0.99)
    if "rho" in options:
        optimizer = gradreg.PerturbationSmoother(optimizer, options["rho"], model=model)
    if "mask" in options:
        optimizer = gradreg.PostVerificationMask(optimizer, prior)
    return optimizer


def projector(optimizer: Optimizer) -> gradreg.NullSpaceProjector | None:
    """Return the projector in a stack, if there is one."""
    while isinstance(optimizer, gradreg.OptimizerWrapper):
        if isinstance(optimizer, gradreg.NullSpaceProjector):
            return optimizer
        optimizer = optimizer.inner
    return None


def observe_noise(optimizer: Optimizer, layer: nn.Module, noise: Tensor, options: Options) -> None:
    """Show noise to the projector, if there is one, by passing it through a layer; then clear."""
    level = projector(optimizer)
    if level is not None:
        with level.observe_noise():
            layer(noise)
        clear(level, options)


def clear(level: gradreg.NullSpaceProjector, options: Options) -> None:
    """Remove the response to the observed noise, if the options ask for it."""
    if options["clear"]:
        level.clear()
    if options["clear"] == "only":
        level.strength = 0.0


def verify(
    optimizer: Optimizer, tensor: Tensor, evidence: Tensor, options: Options
) -> tuple[Tensor, Tensor]:
    """Verify if there is a mask; otherwise keep all."""
    if "mask" not in options:
        return tensor, torch.ones_like(evidence)
    verified: tuple[Tensor, Tensor] = optimizer.verify(tensor, evidence)  # type: ignore[attr-defined]
    return verified


def kept_mean(losses: Tensor, keep: Tensor) -> Tensor:
    """Return the mean over what is kept; zero, not NaN, if nothing is."""
    return (losses * keep).sum() / keep.sum().clamp_min(1)
