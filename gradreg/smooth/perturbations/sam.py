"""The perturbation of sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from gradreg.smooth.perturbations.norms import at_length


class SAM:
    r"""The perturbation of sharpness-aware minimisation, which raises the loss most to first order.

    .. math::
        \epsilon = \rho \, g / \|g\|_2

    with one norm over all parameters, each scaled by its own group's rho. A gradient that is
    zero or not finite gives no perturbation: the base optimizer then receives what it would
    receive without a smoother.

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
