"""A check that a closure computes its gradients from zero, as a second pass requires."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor

from gradreg.wrapper import Closure


def require_new_gradients(closure: Closure, params: Sequence[Tensor]) -> Closure:
    """Return the closure with a check that it replaces the gradients that were there before.

    Some trainers pass a closure that adds to them (they accumulate micro-batches, with only the
    last one in the closure) or doesn't touch them (they call backward themselves). The last
    micro-batch may use a part of the model only, so every parameter is watched. The check needs
    a host synchronisation only where it can't rule that out otherwise.

    Args:
        closure: zeroes, runs forward and backward, returns the loss.
        params: the parameters; those without a gradient beforehand can't be checked.

    Raises:
        RuntimeError: when called, the closure didn't start from zero gradients.
    """

    def checked() -> Any:
        before = {p: (p.grad, p.grad._version) for p in params if p.grad is not None}
        nonzero: dict[Tensor, Tensor] = {}  # of gradients still there when another was computed

        def is_unchanged(parameter: Tensor) -> bool:
            gradient, version = before[parameter]
            return parameter.grad is gradient and gradient._version == version

        def computed(parameter: Tensor, _: Tensor) -> None:
            gradient = before[parameter][0]
            if is_unchanged(parameter):  # or zeroed by `grad.data.zero_()`, which leaves no trace
                nonzero[parameter] = _is_nonzero(gradient)
            elif parameter in nonzero:  # added to or, after `torch.autograd.grad`, zeroed in place
                nonzero[parameter] = nonzero[parameter] & _is_nonzero(gradient)

        with ExitStack() as stack:
            for p in before:
                if p.is_leaf and p.requires_grad:
                    stack.callback(p.register_hook(partial(computed, p)).remove)
            loss = closure()
        untouched = bool(before) and all(map(is_unchanged, before))
        if untouched:
            kept = [_is_nonzero(gradient) for gradient, _ in before.values()]
        else:
            kept = [
                flag & _is_nonzero(before[p][0])
                for p, flag in nonzero.items()
                if p.grad is before[p][0] and not is_unchanged(p)  # added to, or zeroed later on
            ]
        if any(map(bool, kept)):
            raise RuntimeError(
                "PerturbationSmoother expects a closure that zeroes the gradients, then runs "
                "forward and backward over all micro-batches, found one that "
                f"{'leaves the gradients' if untouched else 'adds to the gradients'} that were "
                "there: a trainer that accumulates, or calls backward by itself, needs "
                "gradreg.OnePassSmoother, as in regularize(..., smooth={'one_pass': True})"
            )
        return loss

    return checked


def _is_nonzero(gradient: Tensor) -> Tensor:
    """Return whether any entry isn't zero, as a tensor: without a host synchronisation."""
    return (gradient._values() if gradient.is_sparse else gradient).any()
