"""One weight under protection: what is known of its noise, and the basis drawn from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradreg.project.sketch import Sketch
from gradreg.project.subspace import (
    Moment,
    contrastive_basis,
    contrastive_factor_basis,
    energy_basis,
    factor_basis,
)

Summary = Moment | Sketch
"""What is kept of feature vectors: their second moment, or a sketch of it where that is large."""


@dataclass(frozen=True)
class Selection:
    """Which directions of a summary are protected; see `NullSpaceProjector`.

    Args:
        energy: share of the noise's energy to hold.
        rank: a fixed number of directions in place of `energy`.
        max_fraction: largest rank as a fraction of d.
        dominance: with signal observed, the least share of noise in a direction.
    """

    energy: float
    rank: int | None
    max_fraction: float
    dominance: float

    def basis(self, noise: Summary, signal: Summary | None) -> Tensor:
        """Return U (groups, d, r), padded with zero columns where groups differ in rank."""
        groups, size = noise.shape
        bases = [self._of_group(g, size, noise, signal) for g in range(groups)]
        rank = max(basis.shape[1] for basis in bases)
        padded = [nn.functional.pad(basis, (0, rank - basis.shape[1])) for basis in bases]
        return torch.stack(padded)

    def _of_group(self, group: int, size: int, noise: Summary, signal: Summary | None) -> Tensor:
        energy, cap = self.energy, int(self.max_fraction * size)
        if self.rank is not None:
            energy, cap = 1.0, min(self.rank, cap)
        if isinstance(noise, Moment):
            mean = noise.mean[group]
            if signal is None:
                return energy_basis(mean, energy, cap)
            assert isinstance(signal, Moment)
            return contrastive_basis(mean, signal.mean[group], energy, cap, self.dominance)
        factor = noise.rows(group).mT
        if signal is None:
            return factor_basis(factor, energy, cap, noise.mean_energy(group))
        assert isinstance(signal, Sketch)
        return contrastive_factor_basis(factor, signal.rows(group).mT, energy, cap, self.dominance)


class ProtectedWeight:
    """What is known of one parameter's noise, and the basis drawn from it.

    Args:
        dim: None for a layer's weight, else the dimension that meets the features.
        basis: U (groups, d, r) in double precision; without columns at first.
        transposed: whether the layer is a transposed convolution.
        bias: the layer's bias, if it is one more feature's weight.
    """

    def __init__(
        self,
        dim: int | None,
        basis: Tensor,
        transposed: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        self.dim, self.transposed, self.bias = dim, transposed, bias
        self.shape: torch.Size | None = None  # the parameter's, when it was first observed
        self.noise: Summary | None = None
        self.signal: Summary | None = None
        self.basis = basis
        self._copies: dict[torch.dtype, Tensor] = {}

    @property
    def basis(self) -> Tensor:
        """U (groups, d, r), in double precision."""
        return self._basis

    @basis.setter
    def basis(self, basis: Tensor) -> None:
        self._basis, self._copies = basis, {}

    def basis_in(self, dtype: torch.dtype) -> Tensor:
        """U in another precision, kept until it changes."""
        if dtype not in self._copies:
            self._copies[dtype] = self._basis.to(dtype)
        return self._copies[dtype]

    def learn(self, kind: str, summary: Summary, forgetting: float) -> None:
        """Take in a new observation, of `"noise"` or `"signal"`."""
        known = getattr(self, kind)
        if known is None:
            setattr(self, kind, summary)
        else:
            known.merge(summary, forgetting)

    def draw(self, selection: Selection) -> Tensor:
        """Return the basis of what is known now, without columns if no noise is."""
        return (
            self.basis[..., :0] if self.noise is None else selection.basis(self.noise, self.signal)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return summaries and basis."""
        state = {"dim": self.dim, "basis": self.basis}
        for kind in ("noise", "signal"):
            summary = getattr(self, kind)
            if summary is not None:
                state[kind] = summary.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, save for `dim`."""
        device = self.basis.device
        self.basis = state["basis"].to(device, copy=True)
        for kind in ("noise", "signal"):
            given = state.get(kind)
            if given is not None:
                summary = Sketch if "buffer" in given else Moment
                setattr(self, kind, summary.from_state(given, device))
