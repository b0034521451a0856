"""The mean of the losses that a mask kept."""

from __future__ import annotations

import torch
from torch import Tensor

from gradreg.mask.gradients import broadcasts


def kept_mean(losses: Tensor, keep: Tensor) -> Tensor:
    r"""Return the mean of losses, weighted by the keep weights of `verify`.

    .. math::
        \frac{\sum_i k_i \, l_i}{\sum_i k_i}

    It is 0 if nothing is kept. Rejected losses don't count even if they are NaN. The weights are
    applied to the value only, since `verify` applies them in the backward pass: a plain
    `(keep * losses).sum() / keep.sum()` would apply soft weights twice.

    Args:
        losses: computed from the tensor that `verify` returned, entry by entry.
        keep: the keep weights that it returned, broadcastable against `losses`.

    Raises:
        ValueError: weights that don't broadcast against the losses.

    Example:
        >>> import gradreg, torch
        >>> losses = torch.tensor([1.0, 3.0, float("nan")])
        >>> gradreg.kept_mean(losses, torch.tensor([1.0, 1.0, 0.0])).item()
        2.0
    """
    if not broadcasts(keep.shape, losses.shape):
        raise ValueError(
            f"expected keep weights that broadcast against the losses' {tuple(losses.shape)}, "
            f"found {tuple(keep.shape)}: reduce the losses to one for each weight, with "
            "keepdim=True where the weights have that dimension"
        )
    weights = keep.expand_as(losses)
    # The value is k·l, but the gradient that of l: the mask multiplies it by k.
    weighted = losses + (weights - 1) * losses.detach()
    total = weights.sum()
    kept = torch.where(weights > 0, weighted, 0).sum()
    return kept / total.where(total > 0, 1)
