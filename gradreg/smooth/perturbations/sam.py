"""Sharpness-aware minimisation's perturbation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from gradreg.smooth.perturbations.norms import at_length


class SAM:
    r"""Sharpness-aware minimisation: look where, to first order, the loss is worst.

    .. math::
        \epsilon = \rho \, g / \|g\|_2

    with one norm over all parameters, each scaled by its own group's rho. A zero gradient gives
    no perturbation; nor does one that isn't finite, so that the base optimizer then sees what it
    would see without a smoother.

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
        yield at_length(grads, rhos)
