"""Summaries of noise and signal, and the choice of the directions that are protected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradreg.project.check_options import check_at_least, check_shares
from gradreg.project.sketch import Sketch
from gradreg.project.subspace import (
    SecondMoment,
    contrastive_basis,
    contrastive_factor_basis,
    energy_basis,
    factor_basis,
)
from gradreg.project.tokens import TokenCounts, token_basis

Summary = SecondMoment | Sketch | TokenCounts
"""A summary of feature vectors: their second moment, a sketch of it if that is large, or counts."""


def double_precision(tensor: Tensor) -> torch.dtype:
    """Return the dtype of a tensor's summaries and bases."""
    return torch.complex128 if tensor.is_complex() else torch.float64


def new_summary(
    parameter: Tensor, groups: int, size: int, sketch_size: int | None, earlier: Summary | None
) -> SecondMoment | Sketch:
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


def feature_size(summary: Summary) -> int:
    """Return d, the number of entries of a feature vector, or of tokens."""
    return summary.total.shape[1] if isinstance(summary, TokenCounts) else summary.shape[1]


@dataclass(frozen=True)
class Selection:
    """The rule by which directions of a summary are protected; see `NullSpaceProjector`.

    Args:
        energy: share of the noise's energy to hold.
        rank: a fixed number of directions in place of `energy`.
        max_fraction: largest rank as a fraction of d.
        dominance: with signal observed, the smallest share of noise in a direction.

    Raises:
        ValueError: a number out of range.
    """

    energy: float
    rank: int | None
    max_fraction: float
    dominance: float

    def __post_init__(self) -> None:
        check_shares(energy=self.energy, max_fraction=self.max_fraction, dominance=self.dominance)
        if self.rank is not None:
            check_at_least(0, rank=self.rank)

    def basis(self, noise: Summary, signal: Summary | None) -> Tensor:
        """Return U (groups, d, r), padded with zero columns where groups differ in rank.

        Of an embedding, return the indices of tokens (1, r).
        """
        if isinstance(noise, TokenCounts):
            assert signal is None or isinstance(signal, TokenCounts)
            energy, cap = self._limits(noise.total.shape[1])
            other = None if signal is None else signal.mean
            return token_basis(noise.mean, other, energy, cap, self.dominance)
        assert not isinstance(signal, TokenCounts)
        groups, size = noise.shape
        bases: list[Tensor] = []
        for group in range(groups):
            # Self-attention's queries, keys and values are the same features.
            if group and noise.is_alike(group) and (signal is None or signal.is_alike(group)):
                bases.append(bases[-1])
            else:
                bases.append(self._of_group(group, size, noise, signal))
        rank = max(basis.shape[1] for basis in bases)
        padded = [nn.functional.pad(basis, (0, rank - basis.shape[1])) for basis in bases]
        return torch.stack(padded)

    def largest_rank(self, size: int) -> int:
        """Return the largest rank for features of a size."""
        return self._limits(size)[1]

    def _limits(self, size: int) -> tuple[float, int]:
        """Return the share of the energy to hold, and the largest rank."""
        cap = int(self.max_fraction * size)
        return (self.energy, cap) if self.rank is None else (1.0, min(self.rank, cap))

    def _of_group(
        self,
        group: int,
        size: int,
        noise: SecondMoment | Sketch,
        signal: SecondMoment | Sketch | None,
    ) -> Tensor:
        energy, cap = self._limits(size)
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
