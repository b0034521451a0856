"""Second moments of feature vectors, and bases of the subspaces that hold their energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gradreg.distributed import real_view


class SecondMoment:
    r"""A weighted sum of outer products of feature vectors, exact and in double precision.

    .. math::
        M_g = \sum_i w_i \, x_{ig} x_{ig}^H, \qquad n = \sum_i w_i

    for each group g. Vectors that aren't finite are left out. Memory: d² numbers of 8 bytes (16 if
    complex) for each group.

    Args:
        groups: number of groups.
        size: d, entries of a feature vector.
        device: the device that holds it.
        dtype: float64 or complex128.

    Example:
        >>> import torch
        >>> from gradreg.project.subspace import SecondMoment
        >>> moment = SecondMoment(1, 2, torch.device("cpu"))
        >>> moment.add(torch.tensor([[[[1.0, 2.0]]]]))
        >>> moment.total.tolist()
        [[[1.0, 2.0], [2.0, 4.0]]]
    """

    def __init__(
        self, groups: int, size: int, device: torch.device, dtype: torch.dtype = torch.float64
    ) -> None:
        self.total = torch.zeros(groups, size, size, dtype=dtype, device=device)
        self.count = torch.zeros((), dtype=torch.float64, device=device)

    @property
    def shape(self) -> tuple[int, int]:
        """(groups, d)."""
        return self.total.shape[0], self.total.shape[1]

    def add(self, features: Tensor, weights: Tensor | None = None) -> None:
        """Add features (batch, positions, groups, d), with one weight per batch entry."""
        x, count = weighted_rows(features, weights, self.total)
        self.total.baddbmm_(x.mT, x.conj())
        self.count += count

    def merge(self, other: SecondMoment, forgetting: float = 1.0) -> None:
        """Scale this moment by `forgetting`, then add the other one."""
        self.total.mul_(forgetting).add_(other.total)
        self.count.mul_(forgetting).add_(other.count)

    def normalise(self) -> None:
        """Scale each group to the energy 1, and count all vectors as one."""
        energy = self.total.diagonal(dim1=-2, dim2=-1).real.sum(-1)
        self.total /= energy.where(energy > 0, 1)[:, None, None]
        self.count.clamp_(max=1)

    def sum_over_processes(self) -> None:
        """Add up the moments of all processes; collective."""
        dist.all_reduce(real_view(self.total))
        dist.all_reduce(self.count)

    @property
    def mean(self) -> Tensor:
        """M / n, (groups, d, d); zero where nothing was added."""
        return self.total / self.count.where(self.count > 0, 1)

    def split_groups(self, groups: int) -> None:
        """Give each of several groups the moment of what was one group; else do nothing."""
        if groups > self.total.shape[0]:
            self.total = self.total.repeat(groups, 1, 1)

    def is_alike(self, group: int) -> bool:
        """Return whether a group has the same moment as the one before it."""
        return torch.equal(self.total[group], self.total[group - 1])

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"total": self.total, "count": self.count}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> SecondMoment:
        """Restore what `state_dict` returned."""
        groups, size, _ = state["total"].shape
        moment = cls(groups, size, device, state["total"].dtype)
        moment.total.copy_(state["total"])
        moment.count.copy_(state["count"])
        return moment


def weighted_rows(features: Tensor, weights: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return √w·x of features (batch, positions, groups, d) as (groups, rows, d), and Σ w."""
    # 0·x is NaN where x isn't finite; this costs half in the features' own precision.
    usable = (features * 0).sum((-1, -2)).isfinite()  # (batch, positions)
    x = features.where(usable[..., None, None], 0).to(like)
    w = usable.to(x.real.dtype)
    if weights is not None:
        w = w * weights.to(w).view(-1, 1)
        x *= w.sqrt()[..., None, None]
    return x.flatten(0, 1).movedim(1, 0), w.sum()


def energy_basis(noise: Tensor, energy: float, rank_cap: int) -> Tensor:
    r"""Return the leading eigenvectors that hold a given share of a second moment's energy.

    With eigenvalues :math:`\lambda_1 \ge \lambda_2 \ge \ldots` the rank is the smallest r with

    .. math::
        \textstyle \sum_{i \le r} \lambda_i \ge energy \cdot \sum_i \lambda_i

    and at most `rank_cap`. Eigenvalues under d·eps·λ₁ count as zero.

    Args:
        noise: second moment (d, d), float64 or complex128.
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

    where λ is the share of noise in the output of the filter v. A filter is not a feature
    direction: x = Σ (vᴴx) S v, so the features that v passes lie along S v. Protected is therefore
    orth(S·V) over the v with λ > `dominance`. The noise there is

    .. math::
        N' = \textstyle \sum_{\lambda > dominance} \lambda \, (S v)(S v)^H,

    which would be all of N without that condition. Its leading eigenvectors are used until they
    hold the share `energy` of tr N.

    Args:
        noise: N (d, d), float64 or complex128, a mean over vectors.
        signal: G, likewise.
        energy: share of the noise's energy to hold, as far as noise-dominated directions hold it.
        rank_cap: the largest rank.
        dominance: the smallest share of noise.

    Returns:
        Orthonormal columns (d, r).
    """
    d = len(noise)
    total = noise + signal
    ridge = d * torch.finfo(total.dtype).eps * total.diagonal().real.mean()
    if ridge == 0:
        return noise.new_zeros(d, 0)
    lower = torch.linalg.cholesky(total + ridge * torch.eye(d).to(total))  # S = L Lᵀ
    whitened = torch.linalg.solve_triangular(lower, noise, upper=False)
    whitened = torch.linalg.solve_triangular(lower, whitened.mH, upper=False)
    share, filters = torch.linalg.eigh((whitened + whitened.mH) / 2)
    features = lower @ filters  # S V, for V = L⁻ᵀ Q
    carried = features * share.where(share > dominance, 0).clamp_min(0)
    values, vectors = torch.linalg.eigh(carried @ features.mH)
    whole = noise.diagonal().real.sum()
    return _leading(values.flip(0), vectors.flip(1), energy, rank_cap, whole)


def factor_basis(noise: Tensor, energy: float, rank_cap: int, whole: Tensor) -> Tensor:
    """Return `energy_basis` of a second moment given by a factor.

    Args:
        noise: C (d, m), any m, with the second moment C Cᴴ.
        energy: share of `whole` to hold.
        rank_cap: the largest rank.
        whole: the total energy, of which a sketch holds a part.

    Returns:
        Orthonormal columns (d, r).
    """
    vectors, values, _ = torch.linalg.svd(noise, full_matrices=False)
    return _leading(values.square(), vectors, energy, rank_cap, whole)


def contrastive_factor_basis(
    noise: Tensor, signal: Tensor, energy: float, rank_cap: int, dominance: float = 0.5
) -> Tensor:
    """Return `contrastive_basis` of second moments given by factors.

    It is computed in the span of the factors' columns, in which the problem is small.

    Args:
        noise: C (d, m), any m, with N = C Cᴴ.
        signal: likewise for G.
        energy: share of the noise's energy to hold, as far as noise-dominated directions hold it.
        rank_cap: the largest rank.
        dominance: the smallest share of noise.

    Returns:
        Orthonormal columns (d, r).
    """
    span = torch.linalg.qr(torch.cat([noise, signal], dim=1)).Q
    n, s = span.mH @ noise, span.mH @ signal
    return span @ contrastive_basis(n @ n.mH, s @ s.mH, energy, rank_cap, dominance)


def complement(change: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    r"""Split ΔW into its part outside the subspace, ΔW (I - U Uᴴ), and ΔW U.

    The projection is done twice. The first remainder's error is proportional to ΔW, the second's
    to the remainder itself, which may be much smaller.

    Args:
        change: ΔW (groups, rows, d); overwritten by the first result.
        basis: U (groups, d, r), of the same dtype, or indices of tokens (1, r).

    Returns:
        (groups, rows, d) and (groups, rows, r).
    """
    response = respond(change, basis)
    add_response(change, response, basis, -1)
    rest = respond(change, basis)
    add_response(change, rest, basis, -1)
    return change, response.add_(rest)


def is_tokens(basis: Tensor) -> bool:
    """Return whether a basis holds indices of tokens (1, r) in place of columns (groups, d, r)."""
    return basis.dtype == torch.int64


def respond(matrix: Tensor, basis: Tensor) -> Tensor:
    """Return the response W U of a matrix (groups, rows, d), (groups, rows, r)."""
    return matrix[..., basis[0]] if is_tokens(basis) else matrix @ basis


def add_response(matrix: Tensor, response: Tensor, basis: Tensor, factor: float) -> None:
    """Add factor · R Uᴴ to a matrix (groups, rows, d), in place."""
    if is_tokens(basis):
        matrix.index_add_(-1, basis[0], response, alpha=factor)
    else:
        matrix.baddbmm_(response, basis.mH, alpha=factor)


def as_columns(basis: Tensor, size: int) -> Tensor:
    """Return a basis as orthonormal columns (groups, d, r)."""
    if not is_tokens(basis):
        return basis
    return nn.functional.one_hot(basis, size).mT.to(torch.float64)


def _leading(
    values: Tensor, columns: Tensor, energy: float, rank_cap: int, whole: Tensor
) -> Tensor:
    """Return the first columns, enough for their values to reach a share of the whole."""
    floor = len(values) * torch.finfo(values.dtype).eps * values[0]
    values = values.where(values > floor, 0)
    missing = values.cumsum(0) < (energy - 1e-12) * whole  # one more column is needed
    needed = 1 + int(missing.sum()) if energy > 0 else 0
    return columns[:, : min(needed, int((values > 0).sum()), rank_cap)]
