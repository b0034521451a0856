"""Whether a closure computes its gradients anew, as a second pass needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gradreg.wrapper import Closure


def anew(closure: Closure, params: Sequence[Tensor]) -> Closure:
    """Return the closure, guarded: it may not add to the gradients it finds, nor leave them be.

    That is what trainers pass which accumulate micro-batches, with the last one alone in the
    closure, or which have run the backward pass before. Costs no host synchronisation.

    Args:
        closure: zeroes, runs forward and backward, returns the loss.
        params: the parameters; those without a gradient at the beginning tell nothing.

    Raises:
        RuntimeError: when called, the closure didn't start from zero gradients.
    """

    def guarded() -> Any:
        found = {p: (p.grad, p.grad._version) for p in params if p.grad is not None}
        added: list[Tensor] = []

        def look(parameter: Tensor) -> None:
            # Accumulating in place is one new version of the old tensor; zeroing it is one more.
            gradient, version = found[parameter]
            if parameter.grad is gradient and gradient._version <= version + 1:
                added.append(parameter)

        # One parameter that takes part stands for all.
        watched = next((p for p in found if p.is_leaf and p.requires_grad), None)
        handle = None if watched is None else watched.register_post_accumulate_grad_hook(look)
        try:
            loss = closure()
        finally:
            if handle is not None:
                handle.remove()
        untouched = bool(found) and all(
            p.grad is gradient and gradient._version == version
            for p, (gradient, version) in found.items()
        )
        if added or untouched:
            raise RuntimeError(
                "PerturbationSmoother expects a closure that zeroes the gradients, then runs "
                "forward and backward over all micro-batches, found one that "
                f"{'leaves the gradients' if untouched else 'adds to the gradients'} that were "
                "there: a trainer that accumulates, or calls backward by itself, needs "
                "gradreg.OnePassSmoother, as in regularize(..., smooth={'one_pass': True})"
            )
        return loss

    return guarded
