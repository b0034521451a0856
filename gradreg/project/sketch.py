"""A summary of feature vectors in bounded memory, if their second moment is too large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradreg.distributed import real_view
from gradreg.project.subspace import weighted_rows


class Sketch:
    r"""Frequent Directions: ℓ rows B that approximate all rows A seen, one sketch for each group.

    Rows are buffered. Whenever there are 2ℓ, the buffer's singular values are shrunk,

    .. math::
        B \leftarrow \sqrt{\max(\Sigma^2 - \sigma_\ell^2 I, 0)} \; V^T,

    which leaves at most ℓ - 1 rows. For every k < ℓ, and likewise after scaling and merging,

    .. math::
        0 \preceq A^T A - B^T B \preceq \frac{\|A - A_k\|_F^2}{\ell - k} \, I

    with :math:`A_k` the best approximation of rank k. So rows of rank below ℓ are kept exactly. A
    row of weight w counts as √w times itself. Vectors that aren't finite are left out. Memory:
    2·ℓ·d numbers of 8 bytes (16 if complex) for each group.

    Args:
        groups: number of groups.
        size: d, entries of a feature vector.
        device: the device that holds it.
        rows: ℓ.
        dtype: float64 or complex128.

    Example:
        >>> import torch
        >>> from gradreg.project.sketch import Sketch
        >>> sketch = Sketch(1, 3, torch.device("cpu"), rows=2)
        >>> for scale in range(10):
        ...     sketch.add(scale * torch.tensor([[[[0.0, 1.0, 0.0]]]]))
        >>> [round(x, 3) for x in sketch.rows(0).square().sum(0).tolist()]  # mean of squares
        [0.0, 28.5, 0.0]

    References:
        M. Ghashami, E. Liberty, J. M. Phillips, D. P. Woodruff, Frequent Directions: Simple and
        Deterministic Matrix Sketching, 2016.
    """

    def __init__(
        self,
        groups: int,
        size: int,
        device: torch.device,
        rows: int,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.length, self.filled = rows, 0
        self.buffer = torch.zeros(groups, 2 * rows, size, dtype=dtype, device=device)
        self.energy = torch.zeros(groups, dtype=torch.float64, device=device)  # ‖A‖²
        self.count = torch.zeros((), dtype=torch.float64, device=device)

    @property
    def shape(self) -> tuple[int, int]:
        """(groups, d)."""
        return self.buffer.shape[0], self.buffer.shape[2]

    def add(self, features: Tensor, weights: Tensor | None = None) -> None:
        """Add features (batch, positions, groups, d), with one weight per batch entry."""
        x, count = weighted_rows(features, weights, self.buffer)
        self.energy += x.abs().square().sum((1, 2))
        self.count += count
        self._append(x)

    def merge(self, other: Sketch, forgetting: float = 1.0) -> None:
        """Scale this sketch by `forgetting`, then add the other one."""
        self.buffer.mul_(forgetting**0.5)
        self.energy.mul_(forgetting).add_(other.energy)
        self.count.mul_(forgetting).add_(other.count)
        self._append(other.buffer[:, : other.filled])

    def normalise(self) -> None:
        """Scale each group to the energy 1, and count all rows as one."""
        self.buffer *= self.energy.where(self.energy > 0, 1).rsqrt()[:, None, None]
        self.energy.copy_(self.energy > 0)
        self.count.clamp_(max=1)

    def sum_over_processes(self) -> None:
        """Merge the sketches of all processes, bit for bit the same in each; collective."""
        self.compress()
        own = self.copy()
        self.clear()
        for rank in range(dist.get_world_size()):  # one after the other: memory stays bounded
            part = own.copy()
            filled = torch.tensor(part.filled, device=part.buffer.device)
            for tensor in (filled, real_view(part.buffer), part.energy, part.count):
                dist.broadcast(tensor, rank)
            part.filled = int(filled)
            self.merge(part)

    def rows(self, group: int) -> Tensor:
        """Return B/√n of a group, so that BᴴB is a mean over vectors; without rows at first."""
        scale = self.count.where(self.count > 0, 1).rsqrt()
        return self.buffer[group, : self.filled] * scale

    def mean_energy(self, group: int) -> Tensor:
        """Return ‖A‖²/n of a group, exact in spite of shrinking."""
        return self.energy[group] / self.count.where(self.count > 0, 1)

    def split_groups(self, groups: int) -> None:
        """Give each of several groups the rows of what was one group; else do nothing."""
        if groups > self.buffer.shape[0]:
            self.buffer = self.buffer.repeat(groups, 1, 1)
            self.energy = self.energy.repeat(groups)

    def is_alike(self, group: int) -> bool:
        """Return whether a group has the same rows as the one before it."""
        return torch.equal(self.buffer[group], self.buffer[group - 1])

    def clear(self) -> None:
        """Forget all rows."""
        self.filled = 0
        for tensor in (self.buffer, self.energy, self.count):
            tensor.zero_()

    def copy(self) -> Sketch:
        """Return an independent sketch of the same rows."""
        return Sketch.from_state(self.state_dict(), self.buffer.device)

    def compress(self) -> None:
        """Shrink to fewer than ℓ rows, if there are more."""
        if self.filled < self.length:
            return
        rows = self.buffer[:, : self.filled]
        # With B Bᴴ = Q Σ² Qᴴ the new rows are D Qᴴ B, D² = max(1 - σ_ℓ²/Σ², 0): no division by
        # small singular values, as there would be for V.
        values, vectors = torch.linalg.eigh(rows @ rows.mH)
        values, vectors = values.flip(-1), vectors.flip(-1)[..., : self.length - 1]
        least = values[:, self.length - 1 : self.length].clamp_min(0)
        kept = values[:, : self.length - 1]
        shrunk = (1 - least / kept.where(kept > 0, 1)).clamp_min(0).where(kept > 0, 0).sqrt()
        compressed = shrunk[..., None] * (vectors.mH @ rows)
        self.filled = self.length - 1
        self.buffer[:, : self.filled] = compressed
        self.buffer[:, self.filled :] = 0

    def _append(self, rows: Tensor) -> None:
        for part in rows.split(self.length, dim=1):
            if self.filled + part.shape[1] > self.buffer.shape[1]:
                self.compress()
            self.buffer[:, self.filled : self.filled + part.shape[1]] = part
            self.filled += part.shape[1]

    def state_dict(self) -> dict[str, Any]:
        """Return buffer and sums."""
        return {
            "buffer": self.buffer,
            "filled": self.filled,
            "energy": self.energy,
            "count": self.count,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Sketch:
        """Restore what `state_dict` returned."""
        groups, rows, size = state["buffer"].shape
        sketch = cls(groups, size, device, rows // 2, state["buffer"].dtype)
        sketch.filled = int(state["filled"])
        for name in ("buffer", "energy", "count"):
            getattr(sketch, name).copy_(state[name])
        return sketch
