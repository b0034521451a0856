"""The protocols that a perturbation implements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class Perturbation(Protocol):
    """The method that `PerturbationSmoother` requires of a perturbation.

    Example:
        >>> class Sign:
        ...     def offsets(self, params, grads, rhos):
        ...         yield [rho * g.sign() for g, rho in zip(grads, rhos)]
    """

    def offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterable[Sequence[Tensor]]:
        """Yield, for each further pass, one offset a parameter, in the order of `params`.

        Runs under `no_grad`. The sequence `grads` is emptied after the first offsets are yielded,
        to free memory before the next pass: copy what later offsets need.

        Args:
            params: the parameters to perturb. They must not be changed.
            grads: their gradients at the present weights, without a scaler's factor. They must
                not be changed either.
            rhos: the radius of each, from its param group.
        """
        ...


@runtime_checkable
class LearningPerturbation(Perturbation, Protocol):
    """The methods, besides `offsets`, of a perturbation that learns from step to step.

    Example:
        >>> import gradreg
        >>> isinstance(gradreg.Friendly(), gradreg.LearningPerturbation)
        True
        >>> isinstance(gradreg.SAM(), gradreg.LearningPerturbation)
        False
    """

    def learn(self) -> None:
        """Learn from the latest `offsets` call. It isn't called if the step is skipped."""
        ...

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        """Return tensors and primitives; values of a parameter under its index, as a string."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], parameters: Sequence[Tensor]) -> None:
        """Restore what `state_dict` returned."""
        ...
