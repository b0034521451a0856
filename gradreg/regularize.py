"""The three levels in their canonical order, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gradreg.mask import PostVerificationMask
from gradreg.priors import PriorLike
from gradreg.project import NullSpaceProjector
from gradreg.smooth import OnePassSmoother, PerturbationSmoother


def regularize(
    optimizer: Optimizer,
    model: nn.Module,
    *,
    mask: PriorLike | Mapping[str, Any] | bool | None = None,
    smooth: float | Callable[[int], float] | Mapping[str, Any] | bool | None = None,
    project: float | Mapping[str, Any] | bool | None = None,
) -> Optimizer:
    """Wrap an optimizer in the chosen levels: projector innermost, smoother, mask outermost.

    A level's value is a mapping of its keyword arguments, or only its main argument. True is the
    level with its defaults; None or False leaves it out. Without any level the optimizer itself is
    returned.

    Args:
        optimizer: the bare optimizer.
        model: the model it trains; the optimizer may have other parameters as well.
        mask: the prior, or arguments of `PostVerificationMask`.
        smooth: rho, or arguments of `PerturbationSmoother`; with `"one_pass": True` among them,
            those of `OnePassSmoother`.
        project: the energy threshold, or arguments of `NullSpaceProjector`.

    Returns:
        The outermost wrapper.

    Raises:
        TypeError: `optimizer` is not an optimizer instance, or `model` not a module.
        ValueError: a level needs the model, and the optimizer has none of its parameters.

    Example:
        >>> import gradreg, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> opt = gradreg.regularize(
        ...     torch.optim.AdamW(model.parameters()), model,
        ...     mask=gradreg.WeakAmplitude(0.0, 0.01), smooth=0.05, project={"energy": 0.9},
        ... )
        >>> [type(level).__name__ for level in (opt, opt.inner, opt.inner.inner, opt.base)]
        ['PostVerificationMask', 'PerturbationSmoother', 'NullSpaceProjector', 'AdamW']
        >>> opt = gradreg.regularize(
        ...     torch.optim.AdamW(model.parameters()), model, smooth={"one_pass": True, "rho": 0.3}
        ... )
        >>> type(opt).__name__
        'OnePassSmoother'
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"regularize wraps an optimizer instance, found {optimizer!r}: build it first, as in "
            "regularize(torch.optim.AdamW(model.parameters()), model, ...)"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"regularize expects the model as a torch.nn.Module, found {model!r}")
    if (options := _options(project, "energy")) is not None:
        _check_trained("project", optimizer, model)
        optimizer = NullSpaceProjector(optimizer, model, **options)
    if (options := _options(smooth, "rho")) is not None:
        if options.pop("one_pass", False):
            optimizer = OnePassSmoother(optimizer, **options)
        else:
            if "model" not in options:
                _check_trained("smooth", optimizer, model)
            optimizer = PerturbationSmoother(optimizer, **{"model": model, **options})
    if (options := _options(mask, "prior")) is not None:
        optimizer = PostVerificationMask(optimizer, **options)
    return optimizer


def _options(value: Any, main: str) -> dict[str, Any] | None:
    """Return a level's keyword arguments; None for no level."""
    if value is None or value is False:
        return None
    if value is True:
        return {}
    return dict(value) if isinstance(value, Mapping) else {main: value}


def _check_trained(level: str, optimizer: Optimizer, model: nn.Module) -> None:
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    if trained.isdisjoint(model.parameters()):
        raise ValueError(
            f"{level}=... expects the model that the optimizer trains, found a "
            f"{type(model).__name__} none of whose {len(list(model.parameters()))} parameters are "
            f"among the optimizer's {len(trained)}: pass the model that the optimizer was built "
            "from, or build the optimizer again if the model's parameters were replaced since"
        )
