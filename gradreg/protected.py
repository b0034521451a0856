"""One parameter under protection: what is known of its noise, and how to see it as a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradreg.subspace import Moment, contrastive_basis, energy_basis


class ProtectedWeight:
    """What is known of one parameter: its moments, its basis, and how to see it as a matrix.

    `dim` is None for a layer's weight (out, in/groups, ...), else the dimension that meets the
    features. As a matrix it is (groups, rows, d).
    """

    def __init__(self, dim: int | None, shape: Sequence[int], device: torch.device) -> None:
        groups, size = shape[0], shape[1]
        self.dim, self.groups = dim, groups
        self.noise = Moment(groups, size, device)
        self.signal = Moment(groups, size, device)
        self.basis = torch.zeros(groups, size, 0, dtype=torch.float64, device=device)

    def matrix(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the parameter's shape as (groups, rows, d), in float64.

        Neither autocast nor TF32 touches a float64 product.
        """
        tensor = tensor.detach().double()
        if self.dim is None:
            return tensor.reshape(self.groups, -1, tensor[0].numel())
        return tensor.movedim(self.dim, -1).reshape(1, -1, tensor.shape[self.dim])

    def subtract(self, parameter: Tensor, matrix: Tensor, factor: float) -> None:
        """Subtract a multiple of (groups, rows, d) from the parameter, in place."""
        if self.dim is None:
            target = parameter.view(matrix.shape) if parameter.is_contiguous() else parameter
            change = matrix if target is not parameter else matrix.reshape(parameter.shape)
        else:
            target = parameter.movedim(self.dim, -1)
            change = matrix.reshape(target.shape)
        target.sub_(change.to(parameter.dtype), alpha=factor)

    def draw(self, energy: float, max_fraction: float) -> Tensor:
        """Return the basis of the moments, group by group, padded with zero columns."""
        noise, signal = self.noise.mean, self.signal.mean
        cap = int(max_fraction * noise.shape[-1])
        contrastive = bool(self.signal.count > 0)
        bases = [
            contrastive_basis(n, s, energy, cap) if contrastive else energy_basis(n, energy, cap)
            for n, s in zip(noise, signal, strict=True)
        ]
        rank = max(basis.shape[1] for basis in bases)
        padded = [nn.functional.pad(basis, (0, rank - basis.shape[1])) for basis in bases]
        return torch.stack(padded)

    def state_dict(self) -> dict[str, Any]:
        """Return moments and basis."""
        return {
            "dim": self.dim,
            "noise": self.noise.state_dict(),
            "signal": self.signal.state_dict(),
            "basis": self.basis,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> ProtectedWeight:
        """Restore what `state_dict` returned."""
        site = cls(state["dim"], state["noise"]["total"].shape, device)
        site.noise = Moment.from_state(state["noise"], device)
        site.signal = Moment.from_state(state["signal"], device)
        site.basis = state["basis"].to(device, copy=True)
        return site
