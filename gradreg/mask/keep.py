"""Keep weights: a prior's verdict on evidence, and its use in the backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradreg.mask.gradients import broadcasts
from gradreg.priors import PriorLike


def keep_weights(
    tensor: Tensor, evidence: Tensor, prior: PriorLike, *, soft: bool, finite_input: Tensor | None
) -> Tensor:
    """Return the weights in [0, 1] of a verified tensor; 0 where the evidence isn't finite.

    Args:
        tensor: the tensor to verify.
        evidence: what the prior judges.
        prior: a function from evidence to weights.
        soft: False rounds the weights to 0 and 1.
        finite_input: a boolean for each sample of the network's input, or None; samples with
            False get 0, if the tensor has as many.

    Raises:
        TypeError: the prior returned no tensor.
        ValueError: the weights don't broadcast against the tensor.
    """
    keep = prior(evidence)
    if not isinstance(keep, Tensor):
        raise TypeError(
            f"a prior must return a tensor of keep weights, found {type(keep).__name__}"
        )
    keep = keep.to(tensor.real.dtype if tensor.is_complex() else tensor.dtype)
    keep = keep.where(_is_finite(evidence, keep.shape), 0)
    keep = keep.nan_to_num(nan=0.0).clamp(0, 1)
    if not soft:
        keep = (keep >= 0.5).to(keep.dtype)
    if finite_input is not None and tensor.ndim > 0 and tensor.shape[0] == finite_input.shape[0]:
        keep = keep * finite_input.view(-1, *[1] * (tensor.ndim - 1))
    if not broadcasts(keep.shape, tensor.shape):
        advice = (
            "the prior keeps a dimension that the tensor lacks: verify tensor.unsqueeze(-1), "
            "or give the prior keepdim=False if it has that"
            if keep.ndim > tensor.ndim
            else "add dimensions to the evidence, as in evidence.unsqueeze(-1) for one weight "
            "per row"
        )
        raise ValueError(
            f"keep weights of shape {tuple(keep.shape)} don't broadcast against the tensor's "
            f"{tuple(tensor.shape)}: {advice}"
        )
    return keep


def combined(keep: Tensor, earlier: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the weights of an output that was verified before, and the factor on its gradient.

    Args:
        keep: the weights of this verification.
        earlier: those by which the gradient will be multiplied besides; None for none.

    Returns:
        The smaller of the weights, and the factor that makes `earlier` that.
    """
    if earlier is None:
        return keep, keep
    both = torch.minimum(keep, earlier.to(keep))
    return both, torch.where(earlier > 0, both / earlier, 0).to(keep)


def mark_verified(out: Tensor, keep: Tensor) -> None:
    """Note the weights by which an output's gradient is multiplied."""
    out._gradreg_keep = keep  # type: ignore[attr-defined]


def verified_before(tensor: Tensor) -> Tensor | None:
    """Return the weights noted on an output that `verify` returned; None for any other tensor."""
    return getattr(tensor, "_gradreg_keep", None)


def require_tensor(method: str, value: Any) -> None:
    """Raise a TypeError unless the value is a tensor."""
    if isinstance(value, Tensor):
        return
    found, advice = type(value).__name__, "pass the tensor that the loss is computed from"
    if isinstance(value, Mapping):
        names = [str(name) for name, entry in value.items() if isinstance(entry, Tensor)]
        found += f" with the tensors {', '.join(names) or 'none'}"
        if names:
            advice = f"pass one of them, as in opt.{method}(output[{names[-1]!r}])"
    raise TypeError(f"{method} expects a tensor, found a {found}: {advice}")


def masked(gradient: Tensor, keep: Tensor) -> Tensor:
    """Return the gradient times `keep`, and exactly 0 where that is 0."""
    if gradient.is_complex():  # a product of complex numbers spreads a NaN to both parts
        parts = torch.view_as_real(gradient.resolve_conj()) * keep.unsqueeze(-1)
        return torch.where(keep > 0, torch.view_as_complex(parts), 0)
    return torch.where(keep > 0, gradient * keep, 0)


def _is_finite(evidence: Tensor, shape: torch.Size) -> Tensor:
    """Return, for each weight of the given shape, whether all its evidence is finite."""
    finite = evidence.isfinite()
    if shape == evidence.shape[:-1]:  # a prior that removes the last dimension
        return finite.all(-1) if evidence.ndim else finite
    if broadcasts(shape, evidence.shape):
        return (~finite).float().sum_to_size(shape) == 0
    return finite if broadcasts(evidence.shape, shape) else finite.new_ones(())
