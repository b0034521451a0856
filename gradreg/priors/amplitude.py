"""A prior on amplitudes: a physiological signal is weak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradreg.priors.base import Prior


class WeakAmplitude(Prior):
    r"""A prior that keeps amplitudes between the sensor's noise floor and a limit.

    .. math::
        k(e) = [\,low \le |e| \le limit\,]

    with limit = `high`, or, adaptively, a running quantile of the amplitudes seen,

    .. math::
        q_t = (1 - m)\,q_{t-1} + m\,\mathrm{quantile}(|e_t|), \qquad
        limit = \min(\max(q_t, low), high).

    The quantile of a batch is taken over its finite evidence; a batch without any doesn't count.
    Each of several processes learns from its own batch, and the running quantiles are averaged at
    the end of the step. The limit is then the same in all of them, and close to that of the joined
    batch if the data are distributed at random.

    Args:
        low: floor of the amplitude, in the evidence's unit.
        high: ceiling of the amplitude.
        adaptive: the quantile, in (0, 1), of the amplitudes to keep; None for a fixed limit.
        momentum: m above, the weight of the newest batch.
        soft: relative width of the edges. The weight falls linearly from 1 at the limit to 0 at
            limit·(1 + soft), and from 1 at `low` to 0 at low·(1 - soft); 0 is a hard edge.

    Raises:
        ValueError: bounds, quantile, momentum or width out of range.

    Example:
        >>> import gradreg, torch
        >>> prior = gradreg.WeakAmplitude(0.1, 1.0)
        >>> prior(torch.tensor([0.05, 0.5, 1.0, 2.0])).tolist()
        [0.0, 1.0, 1.0, 0.0]
        >>> gradreg.WeakAmplitude(0.1, 1.0, soft=0.5)(torch.tensor([1.25])).tolist()
        [0.5]
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        adaptive: float | None = None,
        momentum: float = 0.1,
        soft: float = 0.0,
    ) -> None:
        if not (0 <= low < high):
            raise ValueError(
                f"expected 0 <= low < high, found low = {low}, high = {high}: amplitudes are "
                "not negative, and the kept range must not be empty"
            )
        if adaptive is not None and not 0 < adaptive < 1:
            raise ValueError(
                f"expected a quantile 0 < adaptive < 1, found {adaptive}; None fixes the limit"
            )
        if not 0 < momentum <= 1:
            raise ValueError(f"expected 0 < momentum <= 1, found {momentum}")
        if not 0 <= soft <= 1:
            raise ValueError(f"expected a relative width 0 <= soft <= 1, found {soft}")
        self.low, self.high = low, high
        self.adaptive, self.momentum, self.soft = adaptive, momentum, soft
        self.quantile: Tensor | None = None

    def observe(self, evidence: Tensor) -> None:
        """Update the running quantile with this evidence's; do nothing if not adaptive."""
        if self.adaptive is None:
            return
        amplitude = evidence.detach().abs().flatten().float()
        if amplitude.numel() == 0:  # the quantile of nothing is an error
            amplitude = amplitude.new_full((1,), torch.nan)
        amplitude = amplitude[:: -(-amplitude.numel() // 2**24)]  # torch.quantile's size limit
        now = amplitude.where(amplitude.isfinite(), torch.nan).nanquantile(self.adaptive)
        if self.quantile is None:
            self.quantile = torch.full_like(now, torch.nan)
        before = self.quantile.to(now.device)
        moved = torch.where(before.isnan(), now, before.lerp(now, self.momentum))
        self.quantile = torch.where(now.isnan(), before, moved)

    def synchronize(self) -> None:
        """Average the running quantile over the processes that have one."""
        if self.quantile is not None:
            finite = self.quantile.isfinite()
            totals = torch.stack([self.quantile.where(finite, 0), finite.to(self.quantile)])
            dist.all_reduce(totals)
            self.quantile = totals[0] / totals[1]  # NaN if no process has one

    @property
    def limit(self) -> float | Tensor:
        """The present upper limit: `high`, or a scalar tensor between the bounds."""
        if self.quantile is None:
            return self.high
        return self.quantile.nan_to_num(nan=self.high).clamp(self.low, self.high)

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return the keep weights; NaN evidence gets 0."""
        amplitude = evidence.abs()
        limit = self.limit
        if isinstance(limit, Tensor):
            limit = limit.to(amplitude)
        if self.soft == 0:
            return ((amplitude >= self.low) & (amplitude <= limit)).to(amplitude.dtype)
        weight = (1 + (1 - amplitude / limit) / self.soft).clamp(0, 1)
        if self.low > 0:
            weight = weight * (1 + (amplitude / self.low - 1) / self.soft).clamp(0, 1)
        return weight.nan_to_num(nan=0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the running quantile."""
        return {} if self.quantile is None else {"quantile": self.quantile}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the running quantile."""
        quantile = state.get("quantile")
        self.quantile = None if quantile is None else quantile.clone()
