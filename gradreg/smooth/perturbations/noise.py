"""Random perturbations, independent of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from gradreg.smooth.perturbations.norms import at_length


class Gaussian:
    r"""Normally distributed offsets: Gaussian smoothing of the loss.

    .. math::
        \epsilon_i \sim \mathcal{N}(0, \rho^2 I), \qquad
        g = \tfrac{1}{n} \sum_i \nabla L(w + \epsilon_i)

    Antithetic draws come in pairs +ε, -ε, so that odd terms of the loss cancel: on a quadratic
    the average is then the exact gradient. Draws use torch's global random generators. Of a
    complex weight, real and imaginary part share the variance.

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
        _check(draws, antithetic)
        self.draws, self.antithetic = draws, antithetic

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[list[Tensor]]:
        """Yield `draws` offsets, one after another."""

        def draw() -> list[Tensor]:
            noise = [torch.randn_like(p) for p in params]
            torch._foreach_mul_(noise, list(rhos))
            return noise

        return _repeated(draw, self.draws, self.antithetic)


class Random:
    r"""A random direction at SAM's length, independent of the gradient.

    .. math::
        \epsilon_i = \rho \, z_i / \|z_i\|_2, \qquad z_i \sim \mathcal{N}(0, I)

    with one norm over all parameters, each scaled by its own group's rho. One draw costs what SAM
    costs; more are averaged. Draws use torch's global random generators.

    Args:
        draws: the number of further passes.
        antithetic: draw in pairs +ε, -ε; `draws` must then be even.

    Raises:
        ValueError: no draws, or an odd number of antithetic ones.

    Example:
        >>> import gradreg, torch
        >>> [offset] = next(iter(gradreg.Random().offsets([torch.zeros(9)], [], [0.5])))
        >>> round(offset.norm().item(), 4)
        0.5
    """

    def __init__(self, draws: int = 1, *, antithetic: bool = False) -> None:
        _check(draws, antithetic)
        self.draws, self.antithetic = draws, antithetic

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[list[Tensor]]:
        """Yield `draws` offsets, one after another."""
        return _repeated(
            lambda: at_length([torch.randn_like(p) for p in params], rhos),
            self.draws,
            self.antithetic,
        )


def _check(draws: int, antithetic: bool) -> None:
    if isinstance(draws, bool) or draws < 1:
        raise ValueError(f"expected draws >= 1, found {draws}")
    if antithetic and draws % 2:
        raise ValueError(
            f"antithetic draws come in pairs: expected an even number, found {draws}; "
            "use one more or antithetic=False"
        )


def _repeated(
    draw: Callable[[], list[Tensor]], times: int, antithetic: bool
) -> Iterator[list[Tensor]]:
    for _ in range(times // 2 if antithetic else times):
        if antithetic:
            offset = draw()
            yield offset
            yield list(torch._foreach_neg(offset))
            del offset
        else:
            yield draw()
