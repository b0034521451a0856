"""Summaries of noise and signal, and the choice of the directions that are protected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradreg.project.sketch import Sketch
from gradreg.project.subspace import (
    SecondMoment,
    contrastive_basis,
    contrastive_factor_basis,
    energy_basis,
    factor_basis,
)

Summary = SecondMoment | Sketch
"""A summary of feature vectors: their second moment, or a sketch of it if that is large."""


def double_precision(tensor: Tensor) -> torch.dtype:
    """Return the dtype of a tensor's summaries and bases."""
    return torch.complex128 if tensor.is_complex() else torch.float64


def new_summary(
    parameter: Tensor, groups: int, size: int, sketch_size: int | None, earlier: Summary | None
) -> Summary:
    """Return an empty summary of feature vectors.

    Args:
        parameter: the parameter that is multiplied with the features.
        groups: number of groups.
        size: d, entries of a feature vector.
        sketch_size: rows of a sketch; None for the exact second moment.
        earlier: a summary for the same parameter, whose type and size are used if there is one.
    """
    if isinstance(earlier, Sketch):
        sketch_size = earlier.length
    elif earlier is not None:
        sketch_size = None
    dtype = double_precision(parameter)
    if sketch_size is None:
        return SecondMoment(groups, size, parameter.device, dtype)
    return Sketch(groups, size, parameter.device, sketch_size, dtype)


@dataclass(frozen=True)
class Selection:
    """The rule by which directions of a summary are protected; see `NullSpaceProjector`.

    Args:
        energy: share of the noise's energy to hold.
        rank: a fixed number of directions in place of `energy`.
        max_fraction: largest rank as a fraction of d.
        dominance: with signal observed, the smallest share of noise in a direction.
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
        if isinstance(noise, SecondMoment):
            mean = noise.mean[group]
            if signal is None:
                return energy_basis(mean, energy, cap)
            assert isinstance(signal, SecondMoment)
            return contrastive_basis(mean, signal.mean[group], energy, cap, self.dominance)
        factor = noise.rows(group).mT
        if signal is None:
            return factor_basis(factor, energy, cap, noise.mean_energy(group))
        assert isinstance(signal, Sketch)
        return contrastive_factor_basis(factor, signal.rows(group).mT, energy, cap, self.dominance)
