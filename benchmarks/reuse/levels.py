"""A flat dictionary of options as a stack of wrappers: what is absent from it is left out."""

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
"""The options that belong to each level; a task's space has these names beside the optimizer's.

mask    the prior's one number
rho     SAM's radius
clear   whether the weights' response to noise is removed before the first step: True, False, or
        "only", which removes it and then doesn't project, so that the first weights alone differ
"""


def wrap(
    optimizer: Optimizer, model: nn.Module | None, prior: PriorLike | None, options: Options
) -> Optimizer:
    """Wrap an optimizer in the levels whose options are there, in the canonical order."""
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


def clear(level: gradreg.NullSpaceProjector, options: Options) -> None:
    """Remove the response to the observed noise, if the options say so."""
    if options["clear"]:
        level.clear()
    if options["clear"] == "only":
        level.strength = 0.0


def verify(
    optimizer: Optimizer, tensor: Tensor, evidence: Tensor, options: Options
) -> tuple[Tensor, Tensor]:
    """Verify where there is a mask; otherwise keep all."""
    if "mask" not in options:
        return tensor, torch.ones_like(evidence)
    checked: tuple[Tensor, Tensor] = optimizer.verify(tensor, evidence)  # type: ignore[attr-defined]
    return checked


def kept_mean(losses: Tensor, keep: Tensor) -> Tensor:
    """Mean over what is kept; zero, not NaN, where nothing is."""
    return (losses * keep).sum() / keep.sum().clamp_min(1)
