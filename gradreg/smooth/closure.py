"""A check that a closure computes its gradients from zero, as a second pass requires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gradreg.wrapper import Closure


def require_new_gradients(closure: Closure, params: Sequence[Tensor]) -> Closure:
    """Return the closure with a check that it replaces the gradients that were there before.

    Some trainers pass a closure that adds to them (they accumulate micro-batches, with only the
    last one in the closure) or doesn't touch them (they call backward themselves). The check
    needs no host synchronisation.

    Args:
        closure: zeroes, runs forward and backward, returns the loss.
        params: the parameters; those without a gradient beforehand can't be checked.

    Raises:
        RuntimeError: when called, the closure didn't start from zero gradients.
    """

    def checked() -> Any:
        before = {p: (p.grad, p.grad._version) for p in params if p.grad is not None}
        added: list[Tensor] = []

        def compare(parameter: Tensor) -> None:
            # Accumulating in place increments the old tensor's version once, zeroing once more.
            gradient, version = before[parameter]
            if parameter.grad is gradient and gradient._version <= version + 1:
                added.append(parameter)

        # It is enough to watch one parameter.
        watched = next((p for p in before if p.is_leaf and p.requires_grad), None)
        handle = None if watched is None else watched.register_post_accumulate_grad_hook(compare)
        try:
            loss = closure()
        finally:
            if handle is not None:
                handle.remove()
        untouched = bool(before) and all(
            p.grad is gradient and gradient._version == version
            for p, (gradient, version) in before.items()
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

    return checked
