"""What a smoother asks of a perturbation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

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
        """Yield, for each further pass, one offset a parameter, in the order of `params`.

        Runs under `no_grad`. The sequence `grads` is emptied once the first offsets are there, to
        free the memory before the next pass: copy what later ones need.

        Args:
            params: the parameters that are to be moved. They must be left alone.
            grads: their gradients at the present weights, without a scaler's factor. They must
                be left alone too.
            rhos: the radius of each, that of its param group.
        """
        ...


@runtime_checkable
class LearningPerturbation(Perturbation, Protocol):
    """What is asked, beside `offsets`, of a perturbation that learns from step to step.

    Example:
        >>> import gradreg
        >>> isinstance(gradreg.Friendly(), gradreg.LearningPerturbation)
        True
        >>> isinstance(gradreg.SAM(), gradreg.LearningPerturbation)
        False
    """

    def learn(self) -> None:
        """Take over what the latest `offsets` call saw. It isn't called if the step is skipped."""
        ...

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        """Return tensors and primitives; what belongs to a parameter under its index, a string."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], parameters: Sequence[Tensor]) -> None:
        """Restore what `state_dict` returned."""
        ...
