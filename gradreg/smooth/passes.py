"""Helpers of the passes at perturbed weights: gradients, copies of weights, random states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gradreg.smooth.perturbations.norms import copy_into


def dense_gradient(parameter: Tensor) -> Tensor:
    """Return a parameter's gradient.

    Raises:
        TypeError: it is not dense.
    """
    gradient = parameter.grad
    if gradient is None or gradient.layout != torch.strided:
        raise TypeError(
            f"PerturbationSmoother expects dense gradients, found {getattr(gradient, 'layout', '')}"
            f" on a parameter of shape {tuple(parameter.shape)}: use sparse=False in its layer, or "
            "a param group of its own with 'perturbation_rho': 0.0"
        )
    return gradient


def drop_gradients(params: Sequence[Tensor]) -> None:
    """Set all gradients to None."""
    for p in params:
        p.grad = None


def add_gradients(total: dict[Tensor, Tensor], params: Sequence[Tensor]) -> None:
    """Add the parameters' gradients to a sum."""
    for p in params:
        if p.grad is not None:
            total[p] = total[p] + p.grad if p in total else p.grad.clone()


@contextmanager
def restored(params: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Return a context that yields a copy of the parameters, and copies it back on exit."""
    clean = [p.detach().clone() for p in params]
    try:
        yield clean
    finally:
        copy_into(params, clean)


def random_state(params: Sequence[Tensor]) -> Callable[[], None]:
    """Return a function that resets the random generators to their present states.

    Args:
        params: parameters on the devices in question, besides the CPU.
    """
    cuda = {p.device for p in params if p.device.type == "cuda"}
    cpu_state = torch.get_rng_state()
    cuda_states = {device: torch.cuda.get_rng_state(device) for device in cuda}

    def reset() -> None:
        torch.set_rng_state(cpu_state)
        for device, state in cuda_states.items():
            torch.cuda.set_rng_state(state, device)

    return reset


def invalidate_unless(finite: Tensor, params: Sequence[Tensor]) -> None:
    """Put NaN into one gradient unless `finite` is true, so that a scaler skips the step."""
    for p in params:
        if p.grad is not None:
            p.grad.add_(torch.where(finite.to(p.device), 0.0, math.nan))
            return
