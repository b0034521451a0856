"""The projection of a weight: of its change in an update, and of its response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradreg.project.subspace import add_response, complement, respond
from gradreg.project.weight import ProtectedWeight
from gradreg.project.weight_as_matrix import join_matrix, split_matrix, working_dtype
from gradreg.sharding import local


@dataclass(frozen=True)
class PendingChange:
    """A weight (and bias) during an update, with this process' part before the update."""

    weight: ProtectedWeight
    tensors: list[Tensor]
    before: list[Tensor]
    strength: float


@contextmanager
def without_autocast(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Switch autocast off on the tensors' devices, so that projections are exact in their dtype."""
    with ExitStack() as stack:
        for kind in {tensor.device.type for tensor in tensors}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def copy_weights(
    weights: Mapping[Tensor, ProtectedWeight], strengths: Mapping[Tensor, float]
) -> list[PendingChange]:
    """Copy the weights before an update, if their change is to be projected.

    Args:
        weights: all that were observed, by parameter.
        strengths: of each parameter. One without, or with 0, isn't projected.
    """
    pending = []
    for parameter, weight in weights.items():
        strength = strengths.get(parameter, 0.0)  # its group may have been removed
        if weight.basis.shape[-1] and strength > 0:
            tensors = weight.with_bias(parameter)
            before = [local(t.detach()).clone() for t in tensors]
            pending.append(PendingChange(weight, tensors, before, strength))
    return pending


def project_change(pending: PendingChange, mode: Literal["freeze", "release"]) -> None:
    """Remove the noise directions from the change that the base optimizer made, in place."""
    weight, dtype = pending.weight, working_dtype(pending.before[0])
    now = [local(t.detach()) for t in pending.tensors]
    before = [t.to(dtype) for t in pending.before]
    changes = [t.to(dtype) - start for t, start in zip(now, before, strict=True)]
    basis, strength = weight.basis_in(dtype), pending.strength
    change, response = complement(join_matrix(weight, changes, pending.tensors), basis)
    if mode == "release":
        present = respond(join_matrix(weight, before, pending.tensors), basis)
        wanted = torch.lerp(response, _shrinkage(present, response), strength)
        add_response(change, wanted, basis, 1)
    elif strength < 1:
        add_response(change, response, basis, 1 - strength)
    for target, start, part in zip(
        now, before, split_matrix(weight, change, pending.tensors), strict=True
    ):
        if target.dtype == dtype:
            torch.add(start, part, out=target)
        else:
            target.copy_(start + part)


def clear_response(weight: ProtectedWeight, tensors: Sequence[Tensor]) -> None:
    """Remove the present response of a weight (and bias) to noise, in place."""
    parts = [local(t.detach()) for t in tensors]
    dtype = working_dtype(parts[0])
    joined = join_matrix(weight, [t.to(dtype, copy=True) for t in parts], tensors)
    rest, _ = complement(joined, weight.basis_in(dtype))
    for target, part in zip(parts, split_matrix(weight, rest, tensors), strict=True):
        target.copy_(part)


def _shrinkage(response: Tensor, change: Tensor) -> Tensor:
    """Return the change that takes each row r of the response to the nearest c·r, 0 ≤ c ≤ 1."""
    length = response.abs().square().sum(-1, keepdim=True)
    along = (response.conj() * change).real.sum(-1, keepdim=True)
    fraction = torch.where(length > 0, along / length, 0)
    return fraction.clamp(-1, 0) * response
