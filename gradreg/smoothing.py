"""Landscape level: descend along the gradient of perturbed weights, towards flat minima."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradreg.perturbations import SAM, Perturbation, radii, radius_of
from gradreg.statistics import unchanged_statistics
from gradreg.wrapper import Closure, OptimizerWrapper


class PerturbationSmoother(OptimizerWrapper):
    r"""Give the base optimizer the gradient at perturbed weights instead of the present ones.

    .. math::
        g = \frac{1}{n} \sum_{i=1}^{n} \nabla L(w + \epsilon_i), \qquad
        \epsilon_1, \ldots, \epsilon_n = perturbation(w, \nabla L(w), \rho)

    One pass at w, one for each offset (SAM has one), then the base optimizer's step from w, which
    is put back bit by bit from a copy. The closure is called 1 + n times; running statistics
    (BatchNorm) move in the first pass only. With rho = 0 everywhere there is one pass, and the
    step is the bare optimizer's.

    A param group's own `"perturbation_rho"` entry replaces `rho` for its parameters (`"rho"` would
    be Adadelta's).

    Args:
        optimizer: the optimizer to wrap.
        rho: radius of the perturbation, or a function of the number of steps made so far.
        perturbation: the offsets; see `gradreg.perturbations`.
        model: where running statistics are. Needed only if the model is compiled; otherwise they
            are found as modules run.
        replay_rng: run the further passes from the random state of the first, so that dropout
            draws the same masks in all of them.

    Raises:
        ValueError: rho is negative or not finite.

    Example:
        >>> import gradreg, torch
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> opt = gradreg.PerturbationSmoother(torch.optim.SGD([w], lr=0.1), rho=0.5)
        >>> def closure():
        ...     opt.zero_grad()
        ...     loss = 0.5 * w.square().sum()
        ...     loss.backward()
        ...     return loss
        >>> opt.step(closure).item()
        12.5
        >>> [round(x, 4) for x in w.tolist()]  # w - 0.1 (w + 0.5 w / |w|)
        [2.67, 3.56]

    References:
        P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, Sharpness-Aware Minimization for
        Efficiently Improving Generalization, 2021.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rho: float | Callable[[int], float] = 0.05,
        perturbation: Perturbation | None = None,
        *,
        model: nn.Module | None = None,
        replay_rng: bool = False,
    ) -> None:
        super().__init__(optimizer)
        self.rho = rho if callable(rho) else radius_of(rho)
        self.perturbation: Perturbation = SAM() if perturbation is None else perturbation
        self.model, self.replay_rng = model, replay_rng
        self._steps = 0
        self._counted = False

    def evaluate(self, closure: Closure) -> Any:
        """Leave the gradient at the perturbed weights in `.grad`; return the loss at the clean."""
        self._counted = True
        rewind = self._random_state()
        loss = closure()
        params, rhos = self._moving()
        if not params:
            return loss
        grads = [_dense(p) for p in params]
        total: dict[Tensor, Tensor] = {}
        n = 0
        with torch.no_grad(), _restored(params) as clean, unchanged_statistics(self.model):
            for n, offsets in enumerate(self.perturbation.offsets(params, grads, rhos), 1):
                if n > 1:
                    _add_gradients(total, self.parameters)
                torch._foreach_copy_(params, clean)
                torch._foreach_add_(params, list(offsets))
                rewind()
                with torch.enable_grad():
                    closure()
            if n > 1:
                _add_gradients(total, self.parameters)
                for p, gradients in total.items():
                    p.grad = gradients / n
        return loss

    def gradient_given(self) -> None:
        """Refuse: one gradient is there, and the perturbed weights' can't be computed."""
        # Distributed checkpointing steps once with zero gradients to create optimizer state.
        moving = [p for p in self._moving()[0] if p.grad is not None and p.grad.any()]
        if moving:
            raise RuntimeError(
                "PerturbationSmoother expects a closure that it can call again at the perturbed "
                "weights, found step() without one: use opt.step(closure), with a GradScaler "
                "opt.step(closure, scaler=scaler), or OnePassSmoother, which needs no closure"
            )

    def _moving(self) -> tuple[list[Tensor], list[float]]:
        """Return the parameters that the perturbation moves, and the radius of each."""
        rho = self.rho(self._steps) if callable(self.rho) else self.rho
        moving = {p: r for p, r in radii(self.param_groups, rho).items() if p.grad is not None}
        return list(moving), list(moving.values())

    def _random_state(self) -> Callable[[], None]:
        """Return a function that puts the random generators back to where they are now."""
        if not self.replay_rng:
            return lambda: None
        cuda = {p.device for p in self.parameters if p.device.type == "cuda"}
        cpu_state = torch.get_rng_state()
        cuda_states = {device: torch.cuda.get_rng_state(device) for device in cuda}

        def rewind() -> None:
            torch.set_rng_state(cpu_state)
            for device, state in cuda_states.items():
                torch.cuda.set_rng_state(state, device)

        return rewind

    def after_update(self) -> None:
        """Count the step, for a rho that depends on it."""
        self._steps += self._counted

    def end_step(self) -> None:
        """Start afresh."""
        self._counted = False

    def get_extra_state(self) -> dict[str, Any]:
        """Return the step count."""
        return {"steps": self._steps}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the step count."""
        self._steps = state["steps"]

    def eval(self) -> None:
        """Make the weights those to evaluate and save: with two passes they always are."""

    def train(self) -> None:
        """Make the weights those to train on: with two passes they always are."""

    @contextmanager
    def unperturbed(self) -> Iterator[None]:
        """Give the clean weights inside the context: with two passes they always are."""
        yield


def _dense(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    if gradient is None or gradient.layout != torch.strided:
        raise TypeError(
            f"PerturbationSmoother expects dense gradients, found {getattr(gradient, 'layout', '')}"
            f" on a parameter of shape {tuple(parameter.shape)}: use sparse=False in its layer, or "
            "a param group of its own with 'perturbation_rho': 0.0"
        )
    return gradient


@contextmanager
def _restored(params: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Give a copy of the parameters, and on leaving copy it back in place."""
    clean = [p.detach().clone() for p in params]
    try:
        yield clean
    finally:
        torch._foreach_copy_(list(params), clean)


def _add_gradients(total: dict[Tensor, Tensor], params: Sequence[Tensor]) -> None:
    for p in params:
        if p.grad is not None:
            total[p] = total[p] + p.grad if p in total else p.grad.clone()
