"""The three levels in their canonical order, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gradreg.masking import PostVerificationMask
from gradreg.one_pass import OnePassSmoother
from gradreg.priors import PriorLike
from gradreg.projection import NullSpaceProjector
from gradreg.smoothing import PerturbationSmoother


def regularize(
    optimizer: Optimizer,
    model: nn.Module,
    *,
    mask: PriorLike | Mapping[str, Any] | None = None,
    smooth: float | Callable[[int], float] | Mapping[str, Any] | None = None,
    project: float | Mapping[str, Any] | None = None,
) -> Optimizer:
    """Wrap an optimizer in the levels asked for: projector innermost, smoother, mask outermost.

    Each level is given as a mapping of its keyword arguments, or as its main argument alone; None
    leaves it out, and with all three left out the optimizer comes back as it is.

    Args:
        optimizer: the bare optimizer.
        model: the model it trains.
        mask: the prior, or arguments of `PostVerificationMask`.
        smooth: rho, or arguments of `PerturbationSmoother`; with `"one_pass": True` among them,
            those of `OnePassSmoother`.
        project: the energy threshold, or arguments of `NullSpaceProjector`.

    Returns:
        The outermost wrapper.

    Example:
        >>> import gradreg, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> opt = gradreg.regularize(
        ...     torch.optim.AdamW(model.parameters()), model,
        ...     mask=gradreg.WeakAmplitude(0.0, 0.01), smooth=0.05, project={"energy": 0.9},
        ... )
        >>> [type(level).__name__ for level in (opt, opt.inner, opt.inner.inner, opt.base)]
        ['PostVerificationMask', 'PerturbationSmoother', 'NullSpaceProjector', 'AdamW']
    """
    if project is not None:
        given = project if isinstance(project, Mapping) else {"energy": project}
        optimizer = NullSpaceProjector(optimizer, model, **given)
    if smooth is not None:
        given = dict(smooth) if isinstance(smooth, Mapping) else {"rho": smooth}
        if given.pop("one_pass", False):
            optimizer = OnePassSmoother(optimizer, **given)
        else:
            optimizer = PerturbationSmoother(optimizer, **{"model": model, **given})
    if mask is not None:
        given = mask if isinstance(mask, Mapping) else {"prior": mask}
        optimizer = PostVerificationMask(optimizer, **given)
    return optimizer
