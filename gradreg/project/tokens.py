"""Counts of tokens: the second moment of an embedding's features, which are one-hot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class TokenCounts:
    """The weighted number of times that each row of an embedding was looked up.

    An embedding multiplies its weight with one-hot features. Their second moment is diagonal, and
    its eigenvectors are the tokens. So d numbers hold it, where other layers need d².

    Args:
        size: d, the number of tokens.
        device: the device that holds it.

    Example:
        >>> import torch
        >>> from gradreg.project.tokens import TokenCounts
        >>> counts = TokenCounts(3, torch.device("cpu"))
        >>> counts.add(torch.tensor([[0, 2, 2]]))
        >>> counts.total.tolist()
        [[1.0, 0.0, 2.0]]
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.total = torch.zeros(1, size, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.float64, device=device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(1,): what a basis of tokens has before its last dimension."""
        return (1,)

    def add(self, features: Tensor, weights: Tensor | None = None) -> None:
        """Add tokens (batch, positions), with one weight per batch entry."""
        w = self.total.new_ones(features.shape)
        if weights is not None:
            w = w * weights.to(w).view(-1, 1)
        self.total[0].index_add_(0, features.flatten(), w.flatten())
        self.count += w.sum()

    def merge(self, other: TokenCounts, forgetting: float = 1.0) -> None:
        """Scale these counts by `forgetting`, then add the others."""
        self.total.mul_(forgetting).add_(other.total)
        self.count.mul_(forgetting).add_(other.count)

    def normalise(self) -> None:
        """Scale the counts to frequencies, and count all tokens as one."""
        self.total /= self.count.where(self.count > 0, 1)
        self.count.clamp_(max=1)

    def sum_over_processes(self) -> None:
        """Add up the counts of all processes; collective."""
        dist.all_reduce(self.total)
        dist.all_reduce(self.count)

    @property
    def mean(self) -> Tensor:
        """Frequency of each token, (d,); zero where nothing was added."""
        return self.total[0] / self.count.where(self.count > 0, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"tokens": self.total, "count": self.count}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> TokenCounts:
        """Restore what `state_dict` returned."""
        counts = cls(state["tokens"].shape[1], device)
        counts.total.copy_(state["tokens"])
        counts.count.copy_(state["count"])
        return counts


def token_basis(
    noise: Tensor, signal: Tensor | None, energy: float, rank_cap: int, dominance: float
) -> Tensor:
    """Return the tokens that hold a share of the noise, as `energy_basis` does for features.

    Args:
        noise: frequency of each token in noise, (d,).
        signal: its frequency in signal; then only tokens are used of whose sum noise has a larger
            share than `dominance`.
        energy: share of the noise's tokens to hold.
        rank_cap: the largest number of tokens.
        dominance: the smallest share of noise.

    Returns:
        Indices of tokens (1, r), the most frequent ones first.
    """
    usable = noise
    if signal is not None:
        usable = noise.where(noise > dominance * (noise + signal), 0)
    values, order = usable.sort(descending=True, stable=True)
    missing = values.cumsum(0) < (energy - 1e-12) * noise.sum()  # one more token is needed
    needed = 1 + int(missing.sum()) if energy > 0 else 0
    return order[None, : min(needed, int((values > 0).sum()), rank_cap)]
