"""Where a smoother looks beside the present weights.

A perturbation is any object with one method,

    offsets(params, grads, rhos) -> iterable of lists of tensors

which yields, for each further pass, one offset a parameter. `rhos` holds one radius a parameter
(its param group's). It runs under `no_grad`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Perturbation(Protocol):
    """What `PerturbationSmoother` asks of a perturbation.

    Example:
        >>> class Sign:
        ...     def offsets(self, params, grads, rhos):
        ...         yield [rho * g.sign() for g, rho in zip(grads, rhos)]
    """

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterable[Sequence[Tensor]]:
        """Yield the offsets of each further pass, in the order of `params`."""
        ...


class SAM:
    r"""Sharpness-aware minimisation: look where, to first order, the loss is worst.

    .. math::
        \epsilon = \rho \, g / \|g\|_2

    with one norm over all parameters, each scaled by its own group's rho. No gradient, no
    perturbation.

    Example:
        >>> import gradreg, torch
        >>> w, g = [torch.zeros(2)], [torch.tensor([3.0, 4.0])]
        >>> [offset] = next(iter(gradreg.SAM().offsets(w, g, [0.5])))
        >>> [round(x, 6) for x in offset.tolist()]
        [0.3, 0.4]

    References:
        P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, Sharpness-Aware Minimization for
        Efficiently Improving Generalization, 2021.
    """

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[list[Tensor]]:
        """Yield the one ascent step."""
        norm = global_norm(grads)
        scale = torch.where(norm > 0, 1 / norm, 0)
        yield scaled(scaled(grads, scale), rhos)


class Gaussian:
    r"""Gaussian smoothing of the loss: the gradient averaged over normal offsets.

    .. math::
        \epsilon_i \sim \mathcal{N}(0, \rho^2 I), \qquad
        g = \tfrac{1}{n} \sum_i \nabla L(w + \epsilon_i)

    Antithetic draws come in pairs +ε, -ε, so that odd terms of the loss cancel: on a quadratic
    the average is then the exact gradient. Draws use torch's global random generators.

    Args:
        draws: n, the number of further passes.
        antithetic: draw in pairs; `draws` must then be even.

    Raises:
        ValueError: no draws, or an odd number of antithetic ones.

    Example:
        >>> import gradreg, torch
        >>> a, b = gradreg.Gaussian(draws=2).offsets([torch.zeros(3)], [torch.ones(3)], [0.1])
        >>> torch.equal(a[0], -b[0])
        True

    References:
        J. C. Duchi, P. L. Bartlett, M. J. Wainwright, Randomized Smoothing for Stochastic
        Optimization, 2012.
    """

    def __init__(self, draws: int = 2, *, antithetic: bool = True) -> None:
        if draws < 1:
            raise ValueError(f"expected draws >= 1, found {draws}")
        if antithetic and draws % 2:
            raise ValueError(
                f"antithetic draws come in pairs: expected an even number, found {draws}; "
                "use one more or antithetic=False"
            )
        self.draws, self.antithetic = draws, antithetic

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[list[Tensor]]:
        """Yield `draws` offsets, one after another."""
        for _ in range(self.draws // 2 if self.antithetic else self.draws):
            offset = scaled([torch.randn_like(p) for p in params], rhos)
            yield offset
            if self.antithetic:
                yield [-e for e in offset]


def radius_of(rho: float) -> float:
    """Return rho as a float.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (math.isfinite(rho) and rho >= 0):
        raise ValueError(f"expected a finite radius rho >= 0, found {rho}")
    return float(rho)


def radii(groups: Sequence[Mapping[str, Any]], rho: float) -> dict[Tensor, float]:
    """Return the radius of each parameter to be perturbed; a group may have its own."""
    return {
        p: radius
        for group in groups
        if (radius := radius_of(group.get("perturbation_rho", rho))) > 0
        for p in group["params"]
    }


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm over all the tensors' entries, as a scalar tensor on the first's device.

    It is accumulated in float32, or in float64 where any tensor is of that dtype.
    """
    wide = any(t.dtype == torch.float64 for t in tensors)
    dtype = torch.float64 if wide else torch.float32
    norms = torch._foreach_norm(list(tensors), 2, dtype)
    norm: Tensor = torch.stack([n.to(tensors[0].device) for n in norms]).norm()
    return norm


def scaled(tensors: Sequence[Tensor], factor: Tensor | Sequence[float]) -> list[Tensor]:
    """Multiply all tensors by one scalar tensor, or each by its own number; dtypes stay."""
    if not isinstance(factor, Tensor):
        return list(torch._foreach_mul(list(tensors), list(factor)))
    if all(t.device == factor.device for t in tensors):
        return list(torch._foreach_mul(list(tensors), factor))
    return [t * factor.to(t.device) for t in tensors]
