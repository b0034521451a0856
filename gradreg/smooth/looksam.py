"""LookSAM's reused component: what a gradient at perturbed weights adds to the plain one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradreg.smooth.passes import dense_gradient
from gradreg.smooth.perturbations.norms import at_length, global_norm, inner_product, times


class ReusedComponent:
    r"""The direction that is reused in steps without a pass at perturbed weights.

    From the smoothed gradient :math:`g_s` and the plain one g of the same step it keeps the
    direction of

    .. math::
        g_v = g_s - \frac{\langle g_s, g \rangle}{\|g\|^2} g

    and adds it to the plain gradients of later steps: :math:`g + \alpha \|g\| g_v / \|g_v\|`.
    Norms are over all the parameters. A new direction is pending until the step is complete.
    """

    def __init__(self) -> None:
        self._direction: dict[Tensor, Tensor] = {}  # g_v / |g_v|
        self._pending: dict[Tensor, Tensor] | None = None

    def is_usable(self) -> bool:
        """Return whether there is a direction, of the parameters' present shapes."""
        return bool(self._direction) and all(v.shape == p.shape for p, v in self._direction.items())

    def add_to_gradients(self, params: Iterable[Tensor], alpha: float) -> None:
        """Add the direction, `alpha` times as long as the gradient, to the gradients in place."""
        params = [p for p in params if p in self._direction and p.grad is not None]
        if params:
            grads = [dense_gradient(p) for p in params]
            # Converted, since the parameters may have been: by model.double(), to another device.
            direction = [self._direction[p].to(g) for p, g in zip(params, grads, strict=True)]
            length = (alpha * global_norm(grads)).nan_to_num(0.0, 0.0, 0.0)
            torch._foreach_add_(grads, times(direction, length))

    def propose(self, params: Sequence[Tensor], plain: Sequence[Tensor]) -> None:
        """Compute a new direction from the smoothed gradients in `.grad` and the plain ones."""
        self._pending = _orthogonal(params, plain)

    def propose_none(self) -> None:
        """Drop the direction when the step is complete."""
        self._pending = {}

    def commit(self) -> None:
        """Adopt the new direction, if there is one."""
        if self._pending is not None:
            self._direction = self._pending

    def discard_pending(self) -> None:
        """Forget a new direction that was not adopted."""
        self._pending = None

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the direction by the parameters' index."""
        return {
            str(i): self._direction[p] for i, p in enumerate(parameters) if p in self._direction
        }

    def load_state_dict(self, state: Mapping[str, Any], parameters: Sequence[Tensor]) -> None:
        """Restore the direction."""
        self._direction = {
            parameters[int(i)]: value.to(parameters[int(i)], copy=True)
            for i, value in state.items()
        }


def _orthogonal(params: Sequence[Tensor], plain: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """Return the gradient minus its component along the plain one, at length 1."""
    pairs = [(p, g) for p, g in zip(params, plain, strict=True) if p.grad is not None]
    if not pairs:
        return {}
    used, direction = [p for p, _ in pairs], [g for _, g in pairs]
    smoothed = [dense_gradient(p) for p in used]
    square = inner_product(direction, direction)
    along = torch.where(square > 0, inner_product(smoothed, direction) / square, 0)
    direction = times(direction, -along)
    torch._foreach_add_(direction, smoothed)
    # A rounding error has no direction.
    eps = max(torch.finfo(g.dtype).eps for g in smoothed)
    norm = global_norm(direction)
    significant = (norm > 4 * eps * global_norm(smoothed)) * 1.0
    return dict(zip(used, at_length(direction, significant, norm), strict=True))
