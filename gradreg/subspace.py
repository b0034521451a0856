"""Streaming second moments of feature vectors, and the subspaces drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Moment:
    r"""Weighted sum of outer products of feature vectors, exact and in float64.

    .. math::
        M_g = \sum_i w_i \, x_{ig} x_{ig}^T, \qquad n = \sum_i w_i

    for each group g. Vectors that aren't finite are left out.

    Args:
        groups: number of groups.
        size: d, entries of a feature vector.
        device: where it is kept.

    Example:
        >>> import torch
        >>> from gradreg.subspace import Moment
        >>> moment = Moment(1, 2, torch.device("cpu"))
        >>> moment.add(torch.tensor([[[[1.0, 2.0]]]]))
        >>> moment.total.tolist()
        [[[1.0, 2.0], [2.0, 4.0]]]
    """

    def __init__(self, groups: int, size: int, device: torch.device) -> None:
        self.total = torch.zeros(groups, size, size, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, features: Tensor, weights: Tensor | None = None) -> None:
        """Add features (batch, positions, groups, d), with one weight a batch entry."""
        x = features.to(self.total)
        usable = x.isfinite().all(-1).all(-1)  # (batch, positions)
        w = usable.to(x) if weights is None else usable * weights.to(x).view(-1, 1)
        x = x.where(usable[..., None, None], 0) * w.sqrt()[..., None, None]
        x = x.flatten(0, 1).movedim(1, 0)  # (groups, batch * positions, d)
        self.total.baddbmm_(x.mT, x)
        self.count += w.sum()

    def merge(self, other: Moment, forgetting: float = 1.0) -> None:
        """Scale what is here by `forgetting`, then add the other moment."""
        self.total.mul_(forgetting).add_(other.total)
        self.count.mul_(forgetting).add_(other.count)

    @property
    def mean(self) -> Tensor:
        """M / n, (groups, d, d); zero where nothing was added."""
        return self.total / self.count.where(self.count > 0, 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums."""
        return {"total": self.total, "count": self.count}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Moment:
        """Restore what `state_dict` returned."""
        groups, size, _ = state["total"].shape
        moment = cls(groups, size, device)
        moment.total.copy_(state["total"])
        moment.count.copy_(state["count"])
        return moment


def energy_basis(noise: Tensor, energy: float, rank_cap: int) -> Tensor:
    r"""Return the leading eigenvectors that hold a share of a second moment's energy.

    With eigenvalues :math:`\lambda_1 \ge \lambda_2 \ge \ldots` the rank is the least r with

    .. math::
        \textstyle \sum_{i \le r} \lambda_i \ge energy \cdot \sum_i \lambda_i

    and at most `rank_cap`. Eigenvalues under d·eps·λ₁ count as zero.

    Args:
        noise: second moment (d, d), float64.
        energy: the share, in [0, 1].
        rank_cap: the largest rank.

    Returns:
        Orthonormal columns (d, r).
    """
    values, vectors = torch.linalg.eigh(noise)
    return _leading(values.flip(0), vectors.flip(1), energy, rank_cap, values.sum())


def contrastive_basis(
    noise: Tensor, signal: Tensor, energy: float, rank_cap: int, dominance: float = 0.5
) -> Tensor:
    r"""Return the directions in which noise dominates signal, as an orthonormal basis.

    With N, G the second moments of noise and signal and S = N + G, solve

    .. math::
        N v = \lambda S v, \qquad 0 \le \lambda \le 1,

    λ being the share of noise in what the filter v lets through. A filter is not a feature
    direction: x = Σ (vᵀx) S v, so the features belonging to v lie along S v, and that is what is
    protected: orth(S·V) over the v with λ > `dominance`. The S v carry the noise energy
    λ‖S v‖², which sums to tr N; the largest are taken until they hold the share `energy`.

    Args:
        noise: N (d, d), float64, a mean over vectors.
        signal: G, likewise.
        energy: share of the noise's energy to hold, as far as noise-dominated directions do.
        rank_cap: the largest rank.
        dominance: the least share of noise.

    Returns:
        Orthonormal columns (d, r).
    """
    d = len(noise)
    total = noise + signal
    ridge = d * torch.finfo(total.dtype).eps * total.diagonal().mean()
    if ridge == 0:
        return noise.new_zeros(d, 0)
    lower = torch.linalg.cholesky(total + ridge * torch.eye(d).to(total))  # S = L Lᵀ
    whitened = torch.linalg.solve_triangular(lower, noise, upper=False)
    whitened = torch.linalg.solve_triangular(lower, whitened.mT, upper=False)
    share, filters = torch.linalg.eigh((whitened + whitened.mT) / 2)
    features = lower @ filters  # S V, for V = L⁻ᵀ Q
    carried = share * features.square().sum(0)
    carried = carried.where(share > dominance, 0)
    order = carried.argsort(descending=True)
    chosen = _leading(carried[order], features[:, order], energy, rank_cap, noise.diagonal().sum())
    basis: Tensor = torch.linalg.qr(chosen).Q
    return basis


def _leading(
    values: Tensor, columns: Tensor, energy: float, rank_cap: int, whole: Tensor
) -> Tensor:
    """Return as many columns as their values (descending) need to reach a share of the whole."""
    floor = len(values) * torch.finfo(values.dtype).eps * values[0]
    values = values.where(values > floor, 0)
    missing = values.cumsum(0) < (energy - 1e-12) * whole  # a column is needed while this holds
    needed = 1 + int(missing.sum()) if energy > 0 else 0
    return columns[:, : min(needed, int((values > 0).sum()), rank_cap)]
