"""What is known about the true signal, as functions `evidence -> keep weight in [0, 1]`.

Any function of that kind serves as a prior. Those here can also be combined:

    p & q = min(p, q)        p | q = max(p, q)        ~p = 1 - p

which for hard (0 or 1) weights are the logical and, or, not, and which stay idempotent and obey
De Morgan's laws for soft ones. Evidence that isn't finite is rejected by
`PostVerificationMask.verify` whatever the prior says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

PriorLike = Callable[[Tensor], Tensor]


class Prior:
    """Base class: a function of the evidence that can learn, be saved and be combined.

    Subclasses give `__call__`; those that adapt to the data also `observe` and their state.

    Example:
        >>> import gradreg, torch
        >>> quiet = gradreg.WeakAmplitude(0.0, 1.0) & (lambda evidence: (evidence != 0.5).float())
        >>> quiet(torch.tensor([0.2, 0.5, 3.0])).tolist()
        [1.0, 0.0, 0.0]
    """

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return the keep weights, of the evidence's shape."""
        raise NotImplementedError

    def observe(self, evidence: Tensor) -> None:
        """Learn from the evidence of a training batch, before it is judged."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt: tensors and primitives only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def __and__(self, other: PriorLike) -> Prior:
        return _Combined(torch.minimum, self, other)

    def __rand__(self, other: PriorLike) -> Prior:
        return _Combined(torch.minimum, other, self)

    def __or__(self, other: PriorLike) -> Prior:
        return _Combined(torch.maximum, self, other)

    def __ror__(self, other: PriorLike) -> Prior:
        return _Combined(torch.maximum, other, self)

    def __invert__(self) -> Prior:
        return _Combined(torch.rsub, self, _one)


def _one(evidence: Tensor) -> Tensor:
    return torch.ones_like(evidence)


class _Combined(Prior):
    """`join(a(evidence), b(evidence))`; observation and state go to both."""

    def __init__(self, join: Callable[..., Tensor], *parts: PriorLike) -> None:
        self.join, self.parts = join, parts

    def __call__(self, evidence: Tensor) -> Tensor:
        return self.join(*(part(evidence) for part in self.parts))

    def observe(self, evidence: Tensor) -> None:
        for part in self.parts:
            if isinstance(part, Prior):
                part.observe(evidence)

    def state_dict(self) -> dict[str, Any]:
        return {
            str(i): part.state_dict()
            for i, part in enumerate(self.parts)
            if isinstance(part, Prior)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, part in enumerate(self.parts):
            if isinstance(part, Prior) and str(i) in state:
                part.load_state_dict(state[str(i)])


class WeakAmplitude(Prior):
    r"""The signal is weak: its amplitude lies above the sensor's floor and under a limit.

    .. math::
        k(e) = [\,low \le |e| \le limit\,]

    with limit = `high`, or, adaptively, a running quantile of the amplitudes seen,

    .. math::
        q_t = (1 - m)\,q_{t-1} + m\,\mathrm{quantile}(|e_t|), \qquad
        limit = \min(\max(q_t, low), high).

    The quantile of a batch is taken over its finite evidence; a batch without any teaches nothing.

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
        """Move the running quantile towards this evidence's; does nothing if not adaptive."""
        if self.adaptive is None or evidence.numel() == 0:
            return
        amplitude = evidence.detach().abs().flatten().float()
        amplitude = amplitude[:: -(-amplitude.numel() // 2**24)]  # torch.quantile's size limit
        now = amplitude.where(amplitude.isfinite(), torch.nan).nanquantile(self.adaptive)
        if self.quantile is None:
            self.quantile = torch.full_like(now, torch.nan)
        before = self.quantile.to(now.device)
        moved = torch.where(before.isnan(), now, before.lerp(now, self.momentum))
        self.quantile = torch.where(now.isnan(), before, moved)

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


class MedianOutlier(Prior):
    r"""Keep what lies near the median of its own batch, in robust standard deviations.

    .. math::
        k(e_i) = [\,|e_i - \mathrm{med}| \le k \cdot 1.4826\,\mathrm{MAD}\,], \qquad
        \mathrm{MAD} = \mathrm{med}_i |e_i - \mathrm{med}|

    over the finite entries; 1.4826 makes the MAD of a Gaussian its standard deviation.

    Args:
        k: how many robust standard deviations from the median still count as signal.

    Raises:
        ValueError: `k` is not positive.

    Example:
        >>> import gradreg, torch
        >>> gradreg.MedianOutlier(3.0)(torch.tensor([1.0, 1.1, 0.9, 1.05, 9.0])).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0]

    References:
        F. R. Hampel, The influence curve and its role in robust estimation, 1974.
    """

    def __init__(self, k: float = 3.0) -> None:
        if not k > 0:
            raise ValueError(f"expected k > 0 robust standard deviations, found {k}")
        self.k = k

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return the keep weights; evidence that isn't finite gets 0."""
        if evidence.numel() == 0:
            return torch.zeros_like(evidence)
        known = evidence.where(evidence.isfinite(), torch.nan)
        distance = (known - known.nanmedian()).abs()
        spread = 1.4826 * distance.nanmedian()
        return (distance <= self.k * spread).to(evidence.dtype)
