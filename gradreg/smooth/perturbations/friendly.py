"""The perturbation of friendly sharpness-aware minimisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradreg.smooth.perturbations.norms import at_length, global_norm


class Friendly:
    r"""The perturbation of friendly SAM, along the part of the gradient specific to the batch.

    .. math::
        m_t &= \lambda m_{t-1} + (1 - \lambda) g_t \\
        \epsilon_t &= \rho \, d_t / \|d_t\|_2, \qquad d_t = g_t - \sigma m_t

    The running mean m approximates the gradient over all the data. It starts from zero. A gradient
    that isn't finite doesn't enter it, nor does that of a skipped step.

    Use one instance in one smoother only, which saves its state.

    Args:
        sigma: how much of the running mean is removed; 0 is SAM.
        decay: λ, of the running mean.

    Raises:
        ValueError: sigma isn't finite, or the decay outside [0, 1).

    Example:
        >>> import gradreg, torch
        >>> w, g = [torch.zeros(2)], [torch.tensor([3.0, 4.0])]
        >>> [offset] = next(iter(gradreg.Friendly().offsets(w, g, [0.5])))
        >>> [round(x, 6) for x in offset.tolist()]  # at first m is along g
        [0.3, 0.4]

    References:
        T. Li, P. Zhou, Z. He, X. Cheng, X. Huang, Friendly Sharpness-Aware Minimization, 2024.
    """

    def __init__(self, sigma: float = 1.0, *, decay: float = 0.9) -> None:
        if not math.isfinite(sigma):
            raise ValueError(f"expected a finite sigma, found {sigma}")
        if not 0 <= decay < 1:
            raise ValueError(f"expected a decay 0 <= decay < 1, found {decay}")
        self.sigma, self.decay = sigma, decay
        self._mean: dict[Tensor, Tensor] = {}
        self._next: dict[Tensor, Tensor] = {}  # the mean, if the step is accepted

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[list[Tensor]]:
        """Yield the one ascent step."""
        yield at_length(self._direction(params, list(grads)), rhos)

    def _direction(self, params: Sequence[Tensor], grads: list[Tensor]) -> list[Tensor]:
        before = [
            self._mean[p].to(g)  # converted, as the parameter may have been
            if p in self._mean and self._mean[p].shape == p.shape
            else torch.zeros_like(g)
            for p, g in zip(params, grads, strict=True)
        ]
        mean = list(torch._foreach_mul(before, self.decay))
        torch._foreach_add_(mean, grads, alpha=1 - self.decay)
        finite = global_norm(mean).isfinite()
        self._next = {
            p: m.where(finite.to(m.device), b) for p, m, b in zip(params, mean, before, strict=True)
        }
        return list(torch._foreach_add(grads, mean, alpha=-self.sigma))

    def learn(self) -> None:
        """Update the running mean with the latest gradient."""
        self._mean.update(self._next)
        self._next = {}

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        """Return the running mean by the parameters' index."""
        return {
            "mean": {str(i): self._mean[p] for i, p in enumerate(parameters) if p in self._mean}
        }

    def load_state_dict(self, state: Mapping[str, Any], parameters: Sequence[Tensor]) -> None:
        """Restore the running mean."""
        self._mean = {
            parameters[int(i)]: mean.to(parameters[int(i)], copy=True)
            for i, mean in state["mean"].items()
        }
        self._next = {}
