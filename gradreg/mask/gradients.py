"""The parameters' gradients, multiplied by the factors of a gradient prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradreg.priors import GradientPriorLike


def judged_gradients(groups: Sequence[Mapping[str, Any]]) -> tuple[list[Tensor], list[int]]:
    """Return the gradients that a gradient prior judges, and the indices of their parameters.

    Groups with `"gradient_mask": False` are left out. A complex gradient is returned as its real
    view.

    Raises:
        TypeError: a gradient is not dense.
    """
    gradients, indices, index = [], [], 0
    for group in groups:
        for p in group["params"]:
            if p.grad is not None and group.get("gradient_mask", True):
                gradients.append(_real_view(p))
                indices.append(index)
            index += 1
    return gradients, indices


def _real_view(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    if gradient is None or gradient.layout != torch.strided:
        raise TypeError(
            f"a gradient prior expects dense gradients, found {getattr(gradient, 'layout', '')} "
            f"on a parameter of shape {tuple(parameter.shape)}: use sparse=False in its layer, or "
            "a param group of its own with 'gradient_mask': False"
        )
    if gradient.is_conj():  # it has no real view
        parameter.grad = gradient = gradient.resolve_conj()
    gradient = gradient.detach()
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient


def mask_gradients(gradients: list[Tensor], indices: list[int], prior: GradientPriorLike) -> Tensor:
    """Multiply the gradients in place by the prior's factors; entries not finite become 0.

    Returns:
        The number of non-zero entries before and after.

    Raises:
        ValueError: the prior returned factors of the wrong number or shape.
    """
    before = _count_nonzero(gradients)
    factors = list(prior(gradients, indices))
    shapes = [tuple(f.shape) for f in factors], [tuple(g.shape) for g in gradients]
    if len(factors) != len(gradients) or not all(map(broadcasts, *shapes)):
        raise ValueError(
            "a gradient prior returns one factor a gradient, broadcastable against it: found "
            f"shapes {shapes[0]} for gradients of shapes {shapes[1]}"
        )
    torch._foreach_mul_(gradients, factors)
    for gradient in gradients:  # torch has no foreach kernel for this
        gradient.nan_to_num_(0.0, 0.0, 0.0)  # 0·NaN is NaN
    return torch.stack([before, _count_nonzero(gradients)])


def _count_nonzero(tensors: list[Tensor]) -> Tensor:
    """Return the number of non-zero entries, including NaN, without a host synchronisation."""
    wide = any(t.dtype == torch.float64 for t in tensors)
    dtype = torch.float64 if wide else torch.float32
    counts = torch._foreach_norm(tensors, 0, dtype)
    return torch.stack([count.to(tensors[0].device) for count in counts]).sum()


def broadcasts(shape: Sequence[int], onto: Sequence[int]) -> bool:
    """Return whether a tensor of one shape broadcasts to the other."""
    return len(shape) <= len(onto) and all(
        a in (1, b) for a, b in zip(reversed(shape), reversed(onto), strict=False)
    )
