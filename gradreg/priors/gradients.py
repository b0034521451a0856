"""Priors on the parameters' gradients, for use where the forward pass can't be changed.

A gradient prior is any function

    prior(gradients, indices) -> one factor per gradient, broadcastable against it

called once per step with the gradients that the base optimizer will use (averaged, accumulated,
unscaled) and the indices of their parameters, in the order of `param_groups`. Factors are not
negative; where one is 0, the gradient is rejected. A complex gradient is passed as its real view,
with a last dimension of two. The prior may learn from the gradients, and runs under `no_grad`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

GradientPriorLike = Callable[[list[Tensor], list[int]], Sequence[Tensor]]


class GradientPrior:
    """Base class of priors on gradients, which learn, are saved and combined.

    `p & q` uses the smaller factor of the two, `p | q` the larger one.

    Example:
        >>> import gradreg, torch
        >>> def no_bias(gradients, indices):
        ...     return [torch.tensor(float(g.ndim > 1)) for g in gradients]
        >>> prior = gradreg.NormOutlier() & no_bias
        >>> [factor.item() for factor in prior([torch.ones(2, 3), torch.ones(2)], [0, 1])]
        [1.0, 0.0]
    """

    def __call__(self, gradients: list[Tensor], indices: list[int]) -> list[Tensor]:
        """Return factors by what was learnt from earlier gradients; then learn from these."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt: tensors and primitives only, parameters by index."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def __and__(self, other: GradientPriorLike) -> GradientPrior:
        return _Combined(torch.minimum, self, other)

    def __rand__(self, other: GradientPriorLike) -> GradientPrior:
        return _Combined(torch.minimum, other, self)

    def __or__(self, other: GradientPriorLike) -> GradientPrior:
        return _Combined(torch.maximum, self, other)

    def __ror__(self, other: GradientPriorLike) -> GradientPrior:
        return _Combined(torch.maximum, other, self)


class _Combined(GradientPrior):
    def __init__(self, join: Callable[..., Tensor], *parts: GradientPriorLike) -> None:
        self.join, self.parts = join, parts

    def __call__(self, gradients: list[Tensor], indices: list[int]) -> list[Tensor]:
        factors = (part(gradients, indices) for part in self.parts)
        return [self.join(*pair) for pair in zip(*factors, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {
            str(i): part.state_dict()
            for i, part in enumerate(self.parts)
            if isinstance(part, GradientPrior)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, part in enumerate(self.parts):
            if isinstance(part, GradientPrior) and str(i) in state:
                part.load_state_dict(state[str(i)])


class NormOutlier(GradientPrior):
    r"""A prior that rejects a tensor's gradient if its norm is much larger than usual.

    .. math::
        f_t = \Big[\,\|g_t\|_2 \le k \cdot \mathrm{med}(\|g_{t-1}\|_2, \ldots,
        \|g_{t-window}\|_2)\,\Big]

    or, with `clip`, :math:`f_t = \min(1, k \cdot \mathrm{med} / \|g_t\|_2)`. The median is over
    the tensor's own last norms, including outliers, so that it follows a lasting change once that
    fills more than half the window. Zero gradients are kept and not stored. A gradient with an
    entry that isn't finite is rejected completely, and not stored either.

    Args:
        k: the largest accepted norm, as a multiple of the median.
        window: number of norms stored for each tensor.
        warmup: number of norms stored before a tensor is judged; until then all finite gradients
            pass.
        clip: scale the outlier down to the limit instead of rejecting it.

    Raises:
        ValueError: k is not positive and finite, or not 1 <= warmup <= window.

    Example:
        >>> import gradreg, torch
        >>> prior = gradreg.NormOutlier(k=3.0, warmup=2)
        >>> usual, spike = torch.ones(4), torch.full((4,), 10.0)
        >>> [prior([g], [0])[0].item() for g in (usual, usual, spike, usual)]
        [1.0, 1.0, 0.0, 1.0]

    References:
        P. Seetharaman, G. Wichern, B. Pardo, J. Le Roux, AutoClip: Adaptive Gradient Clipping for
        Source Separation Networks, 2020 (clips at a percentile of past norms).
    """

    def __init__(
        self, k: float = 4.0, *, window: int = 50, warmup: int = 10, clip: bool = False
    ) -> None:
        if not (k > 0 and math.isfinite(k)):
            raise ValueError(f"expected a finite multiple k > 0 of the usual norm, found {k}")
        if not 1 <= warmup <= window:
            raise ValueError(
                f"expected 1 <= warmup <= window, found warmup = {warmup}, window = {window}: "
                "no more norms are stored than the window holds"
            )
        self.k, self.window, self.warmup, self.clip = k, window, warmup, clip
        self.norms: Tensor | None = None  # (parameters, window), newest last, NaN for none yet

    def __call__(self, gradients: list[Tensor], indices: list[int]) -> list[Tensor]:
        """Return one factor per tensor: 0 or 1, or with `clip` one that scales it to the limit."""
        now = self._norms(gradients, indices)
        past = now.new_full((len(now), self.window), torch.nan)
        if self.norms is not None:
            past[: len(self.norms)] = self.norms
        limit = self.k * past.nanmedian(-1).values
        judged = (~past.isnan()).sum(-1) >= self.warmup
        inside = ~judged | (now <= limit)
        factor = inside.to(now.dtype)
        if self.clip:
            factor = torch.where(inside, 1, limit / now)
        factor = factor.where(now.isfinite(), 0)
        learnt = (now.isfinite() & (now > 0)).unsqueeze(-1)
        newer = torch.cat([past[:, 1:], now.unsqueeze(-1)], -1)
        self.norms = torch.where(learnt, newer, past)
        rows = factor.unbind()
        return [rows[i].to(g.device) for i, g in zip(indices, gradients, strict=True)]

    def _norms(self, gradients: list[Tensor], indices: list[int]) -> Tensor:
        """Return the norm of each parameter's gradient; 0 for those without one."""
        wide = any(g.dtype == torch.float64 for g in gradients)
        dtype = torch.float64 if wide else torch.float32
        computed = torch._foreach_norm(gradients, 2, dtype)
        device = gradients[0].device
        none = torch.zeros((), dtype=dtype, device=device)
        rows = 0 if self.norms is None else len(self.norms)
        norms = [none] * max(rows, 1 + max(indices))
        for i, norm in zip(indices, computed, strict=True):
            norms[i] = norm.to(device)
        return torch.stack(norms)

    def state_dict(self) -> dict[str, Any]:
        """Return the stored norms, a row for each parameter."""
        return {} if self.norms is None else {"norms": self.norms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the stored norms."""
        norms = state.get("norms")
        if norms is not None and norms.shape[-1] != self.window:
            raise ValueError(
                f"expected {self.window} norms a parameter, as the window, found "
                f"{norms.shape[-1]} in the state: build NormOutlier with the window it was saved "
                "with"
            )
        self.norms = None if norms is None else norms.clone()


class SignAgreement(GradientPrior):
    r"""A prior that rejects entries of the gradient whose sign is opposite to the running mean's.

    .. math::
        f = [\,g_t \cdot \bar g_{t-1} \ge 0\,], \qquad
        \bar g_t = (1 - m)\,\bar g_{t-1} + m\,g_t

    entry by entry, starting from :math:`\bar g_0 = 0`, which accepts everything. Entries
    that are not finite count as 0 in the mean. It needs as much memory as the gradients.

    Args:
        momentum: m above, the weight of the newest gradient.

    Raises:
        ValueError: momentum out of range.

    Example:
        >>> import gradreg, torch
        >>> prior = gradreg.SignAgreement()
        >>> first, second = torch.tensor([1.0, 1.0]), torch.tensor([2.0, -0.1])
        >>> [prior([g], [0])[0].tolist() for g in (first, second)]
        [[1.0, 1.0], [1.0, 0.0]]

    References:
        K. Liang, L. Chen, B. Liu, Q. Liu, Cautious Optimizers: Improving Training with One Line of
        Code, 2024 (the same sign test, between the update and the gradient).
    """

    def __init__(self, *, momentum: float = 0.1) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"expected 0 < momentum <= 1, found {momentum}")
        self.momentum = momentum
        self.means: dict[int, Tensor] = {}

    def __call__(self, gradients: list[Tensor], indices: list[int]) -> list[Tensor]:
        """Return one factor per entry."""
        means = [self._mean(i, g) for i, g in zip(indices, gradients, strict=True)]
        # The product of the signs, since that of the values may underflow.
        factors = list(torch._foreach_sign(means))
        torch._foreach_mul_(factors, torch._foreach_sign(gradients))
        torch._foreach_clamp_max_(factors, 0)
        torch._foreach_add_(factors, 1)
        finite = [g.nan_to_num(0.0, 0.0, 0.0).to(m) for g, m in zip(gradients, means, strict=True)]
        torch._foreach_lerp_(means, finite, self.momentum)
        return factors

    def _mean(self, index: int, gradient: Tensor) -> Tensor:
        mean = self.means.get(index)
        if mean is None:
            dtype = torch.promote_types(gradient.dtype, torch.float32)
            mean = torch.zeros_like(gradient, dtype=dtype)
        self.means[index] = mean = mean.to(gradient.device)
        return mean

    def state_dict(self) -> dict[str, Any]:
        """Return the running mean gradients."""
        return {str(i): mean for i, mean in self.means.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the running mean gradients."""
        self.means = {int(i): mean.clone() for i, mean in state.items()}
