"""The perturbation of adaptive sharpness-aware minimisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradreg.smooth.perturbations.norms import at_length, global_norm


class ASAM:
    r"""The perturbation of adaptive SAM, whose radius is relative to each weight's size.

    .. math::
        \epsilon = \rho \, T_w^2 g / \|T_w g\|_2, \qquad T_w = |w| + \eta

    elementwise, so that :math:`\|T_w^{-1} \epsilon\|_2 = \rho` and rescaling the weights of a
    layer doesn't change the meaning of the radius. Usual radii are about ten times SAM's.

    Args:
        eta: added to the size, so that weights near zero are perturbed too.

    Raises:
        ValueError: eta is negative or not finite.

    Example:
        >>> import gradreg, torch
        >>> w, g = [torch.tensor([1.0, 0.0])], [torch.tensor([2.0, 7.0])]
        >>> [offset] = next(iter(gradreg.ASAM(eta=0.0).offsets(w, g, [0.5])))
        >>> offset.tolist()
        [0.5, 0.0]

    References:
        J. Kwon, J. Kim, H. Park, I. K. Choi, ASAM: Adaptive Sharpness-Aware Minimization for
        Scale-Invariant Learning of Deep Neural Networks, 2021.
    """

    def __init__(self, eta: float = 0.01) -> None:
        if not (math.isfinite(eta) and eta >= 0):
            raise ValueError(f"expected a finite eta >= 0, found {eta}")
        self.eta = eta

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[list[Tensor]]:
        """Yield the one ascent step."""
        yield _ascent(params, grads, rhos, self.eta)  # a local variable would outlive the pass


def _ascent(
    params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float], eta: float
) -> list[Tensor]:
    size = list(torch._foreach_abs(list(params)))
    torch._foreach_add_(size, eta)
    direction = list(torch._foreach_mul(list(grads), size))
    norm = global_norm(direction)
    torch._foreach_mul_(direction, size)
    return at_length(direction, rhos, norm)
