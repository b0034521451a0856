"""A prior on vectors: agreement with the direction of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradreg.priors.base import Prior


class Agreement(Prior):
    r"""A prior that keeps vectors in the direction of the running consensus.

    .. math::
        c_t = (1 - m)\,c_{t-1} + m\,\frac{1}{n}\sum_i \frac{e_i}{\|e_i\|}, \qquad
        k(e_i) = [\,\cos(e_i, c_t) \ge min\_cosine\,]

    The evidence is n vectors (..., d), for instance per-sample gradients or features; the weight
    has shape (..., 1). Each vector counts equally, independent of its length, so that a few long
    ones don't dominate the consensus. Vectors that are zero or not finite don't count and are
    rejected. As long as there is no consensus (c = 0), all others are kept.

    Several processes average the consensus at the end of each step.

    Args:
        min_cosine: smallest cosine with the consensus, in [-1, 1].
        momentum: m above, the weight of the newest batch; with 1 it is the batch's consensus.

    Raises:
        ValueError: cosine or momentum out of range; on use, vectors of another dimension d than
            before.

    Example:
        >>> import gradreg, torch
        >>> prior = gradreg.Agreement(min_cosine=0.0)
        >>> gradients = torch.tensor([[1.0, 0.2], [1.0, -0.2], [-50.0, 0.0]])
        >>> prior.observe(gradients)
        >>> prior(gradients).squeeze(-1).tolist()
        [1.0, 1.0, 0.0]

    References:
        K. V. Mardia, P. E. Jupp, Directional Statistics, 2000 (the mean direction).
    """

    def __init__(self, min_cosine: float = 0.0, *, momentum: float = 0.1) -> None:
        if not -1 <= min_cosine <= 1:
            raise ValueError(f"expected a cosine -1 <= min_cosine <= 1, found {min_cosine}")
        if not 0 < momentum <= 1:
            raise ValueError(f"expected 0 < momentum <= 1, found {momentum}")
        self.min_cosine, self.momentum = min_cosine, momentum
        self.consensus: Tensor | None = None

    def observe(self, evidence: Tensor) -> None:
        """Update the consensus with the mean direction of this evidence."""
        directions, valid = _directions(self._checked(evidence))
        directions, valid = directions.flatten(0, -2), valid.flatten()
        now = directions.sum(0) / valid.sum().clamp_min(1)
        if self.consensus is None:
            self.consensus = torch.zeros_like(now)
        before = self.consensus.to(now)
        # The first directions are the consensus; without any it doesn't change.
        first = (before == 0).all()
        moved = torch.where(first, now, before.lerp(now, self.momentum))
        self.consensus = torch.where(valid.any(), moved, before)

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return one weight per vector, of shape (..., 1)."""
        directions, valid = _directions(self._checked(evidence))
        if self.consensus is None:
            return valid.to(directions.dtype)
        consensus = self.consensus.to(directions)
        norm = consensus.norm()
        cosine = (directions @ consensus).unsqueeze(-1) / norm
        return (valid & ((cosine >= self.min_cosine) | (norm == 0))).to(directions.dtype)

    def synchronize(self) -> None:
        """Average the consensus over the processes."""
        if self.consensus is not None:
            total = self.consensus.clone()
            dist.all_reduce(total)
            self.consensus = total / dist.get_world_size()

    def state_dict(self) -> dict[str, Any]:
        """Return the consensus."""
        return {} if self.consensus is None else {"consensus": self.consensus}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the consensus."""
        consensus = state.get("consensus")
        self.consensus = None if consensus is None else consensus.clone()

    def _checked(self, evidence: Tensor) -> Tensor:
        if evidence.ndim < 2:
            raise ValueError(
                f"Agreement expects vectors (..., d), found shape {tuple(evidence.shape)}: "
                "for a single one use evidence.unsqueeze(0)"
            )
        if self.consensus is not None and len(self.consensus) != evidence.shape[-1]:
            raise ValueError(
                f"Agreement has learnt from vectors of dimension {len(self.consensus)}, found "
                f"shape {tuple(evidence.shape)}: use one Agreement for each kind of evidence"
            )
        if evidence.is_complex():
            raise TypeError(
                f"Agreement expects real vectors, found {evidence.dtype}: pass "
                "torch.view_as_real(evidence).flatten(-2)"
            )
        return evidence if evidence.dtype == torch.float64 else evidence.float()


def _directions(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit vectors, zero where there is no direction, and whether there is one (..., 1)."""
    largest = vectors.abs().amax(-1, keepdim=True)  # so that no square overflows
    valid = vectors.isfinite().all(-1, keepdim=True) & (largest > 0)
    scaled = torch.where(valid, vectors / largest, 0)
    return torch.where(valid, scaled / scaled.norm(dim=-1, keepdim=True), 0), valid
