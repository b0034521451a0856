"""Norms of vectors that consist of many tensors, and radii of perturbations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import torch
from torch import Tensor, nn


def radius_of(rho: float) -> float:
    """Return rho as a float.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative or not finite.
    """
    if isinstance(rho, bool) or not isinstance(rho, SupportsFloat):
        raise TypeError(f"expected a number for the radius rho, found {rho!r}")
    if not (math.isfinite(rho) and rho >= 0):
        raise ValueError(f"expected a finite radius rho >= 0, found {rho}")
    return float(rho)


def radii(groups: Sequence[Mapping[str, Any]], rho: float) -> dict[Tensor, float]:
    """Return the radius of each parameter to perturb; a group may have its own."""
    return {
        p: radius
        for group in groups
        if (radius := radius_of(group.get("perturbation_rho", rho))) > 0
        for p in group["params"]
    }


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm over all the tensors' entries, as a scalar tensor on the first's device.

    It is accumulated in float32, or in float64 if any tensor has that precision. Sharded tensors
    count as a whole.
    """
    dtype = _wide(tensors)
    real = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    if all_plain(real):
        norms = list(torch._foreach_norm(real, 2, dtype))
    else:  # DTensor's `_foreach_norm` takes no dtype
        norms = [_whole(torch.linalg.vector_norm(t.to(dtype))) for t in real]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([n.to(tensors[0].device) for n in norms]))
    return norm


def inner_product(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the real inner product over all entries, as a scalar tensor on the first's device."""
    dtype = _wide(a)
    products = torch._foreach_mul([_real(t, dtype) for t in a], [_real(t, dtype) for t in b])
    total: Tensor = torch.stack([_whole(p.sum()).to(a[0].device) for p in products]).sum()
    return total


def at_length(
    tensors: Sequence[Tensor], lengths: Tensor | Sequence[float], norm: Tensor | None = None
) -> list[Tensor]:
    """Scale one vector, made up of many tensors, to a given length; dtypes are kept.

    A vector whose norm is zero or not finite gives zeros, since it has no direction.

    Args:
        tensors: the parts of the vector.
        lengths: the length, as a scalar tensor, or one number for each part: the length to which
            the whole vector would be scaled for that part.
        norm: the norm to divide by, if it isn't the vector's own.
    """
    norm = global_norm(tensors) if norm is None else norm
    each: Sequence[float] | None = None
    if isinstance(lengths, Tensor):
        factor = lengths / norm
    elif len(set(lengths)) == 1:
        factor = lengths[0] / norm
    else:
        factor, each = norm.reciprocal(), lengths
    result = times(tensors, factor.nan_to_num_(0.0, 0.0, 0.0))
    if each is not None:
        torch._foreach_mul_(result, list(each))
    for t in result:  # 0 · inf and 0 · NaN
        (torch.view_as_real(t) if t.is_complex() else t).nan_to_num_(0.0, 0.0, 0.0)
    return result


def times(tensors: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Multiply all tensors by one scalar tensor; dtypes are kept."""
    if all(t.device == factor.device for t in tensors):
        return list(torch._foreach_mul(list(tensors), factor))
    return [t * factor.to(t.device) for t in tensors]


def all_plain(tensors: Sequence[Tensor]) -> bool:
    """Return whether all are ordinary tensors, and none of a subclass such as DTensor."""
    return all(type(t) in (Tensor, nn.Parameter) for t in tensors)


def copy_into(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy in place: all at once, or one by one if there are DTensors."""
    if targets and all_plain(targets):
        torch._foreach_copy_(list(targets), list(sources))
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def _real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).to(dtype)


def _wide(tensors: Sequence[Tensor]) -> torch.dtype:
    wide = any(t.dtype in (torch.float64, torch.complex128) for t in tensors)
    return torch.float64 if wide else torch.float32


def _whole(tensor: Tensor) -> Tensor:
    """Return a DTensor's whole value, as an ordinary tensor."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
