"""The one-pass smoother, whose weights stay perturbed between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradreg.sharding import local
from gradreg.smooth.perturbations.norms import all_plain, at_length, copy_into, radii, radius_of
from gradreg.smooth.resolution import ResolutionCheck
from gradreg.wrapper import Closure, OptimizerWrapper


class OnePassSmoother(OptimizerWrapper):
    r"""A sharpness-aware wrapper without a second pass: momentum gives the perturbation.

    .. math::
        v_t &= \beta v_{t-1} + (1 - \beta) \nabla L(\tilde w_t) \\
        w_{t+1} &= \text{the base optimizer's step from } w_t \text{ with } \nabla L(\tilde w_t) \\
        \tilde w_{t+1} &= w_{t+1} - \rho \, v_t / \|v_t\|_2

    One step:

    1. Forward and backward pass at the perturbed weights w̃, which the model holds between steps.
    2. Return: the clean weights w are copied back, bit by bit.
    3. The running gradient v is updated, and the base optimizer steps from w.
    4. Climb: the model's weights become w̃ again.

    It works with and without a closure, so also under a `GradScaler` or a trainer that calls
    `step` itself. The first step is the base optimizer's own, and so is each with rho = 0.

    To evaluate, to save a model for use, or to write to the weights, call `opt.eval()` and later
    `opt.train()`, or use `with opt.unperturbed():`. These reach the levels inside, too, and the
    first two a schedule-free base optimizer. To resume later, save model and optimizer
    together, in either state. A state saved with clean weights loads in eval mode: call
    `opt.train()` when both are loaded.

    A param group's own `"perturbation_rho"` entry replaces `rho` for its parameters.

    Args:
        optimizer: the optimizer to wrap.
        rho: radius of the perturbation, or a function of the number of steps made so far.
        beta: decay of the running gradient v.

    Raises:
        ValueError: rho is negative or not finite, or beta outside [0, 1).

    Example:
        >>> import gradreg, torch
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> opt = gradreg.OnePassSmoother(torch.optim.SGD([w], lr=0.1), rho=0.5)
        >>> w.square().sum().mul(0.5).backward()
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]  # 0.9 (3, 4) - 0.5 (0.6, 0.8)
        [2.4, 3.2]
        >>> with opt.unperturbed():
        ...     [round(x, 4) for x in w.tolist()]
        [2.7, 3.6]

    References:
        M. Becker, F. Altrock, B. Risse, Momentum-SAM: Sharpness Aware Minimization without
        Computational Overhead, 2024.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rho: float | Callable[[int], float] = 0.3,
        *,
        beta: float = 0.9,
    ) -> None:
        super().__init__(optimizer)
        if not 0 <= beta < 1:
            raise ValueError(f"expected a decay 0 <= beta < 1, found {beta}")
        self.rho = rho if callable(rho) else radius_of(rho)
        self.beta = beta
        self._training, self._steps = True, 0
        self._resolution = ResolutionCheck()
        self._velocity: dict[Tensor, Tensor] = {}
        self._clean: dict[Tensor, Tensor] = {}  # copies of the weights that are perturbed now
        self._stamps: dict[Tensor, tuple[int, int]] | None = {}  # of these; None after loading

    # ---- The step -------------------------------------------------------------------------------

    def evaluate(self, closure: Closure) -> Any:
        """Evaluate at the perturbed weights, then put the clean ones back."""
        self._check_mode()
        loss = closure()
        self._return()
        return loss

    def gradient_given(self) -> None:
        """Put the clean weights back: the gradient was computed at the perturbed ones."""
        self._check_mode()
        self._return()

    def _check_mode(self) -> None:
        if not self._training:
            raise RuntimeError(
                "step() found clean weights, after eval() or after loading a state saved in eval "
                "mode: call opt.train() before the forward pass"
            )

    def before_update(self) -> None:
        """Update the running gradient."""
        self._steps += 1
        rho = radii(self.param_groups, self._rho())
        params = [p for p in rho if p.grad is not None]
        for p in params:
            if p not in self._velocity or self._velocity[p].shape != p.shape:
                self._velocity[p] = torch.zeros_like(p, memory_format=torch.preserve_format)
        self._convert_velocity()
        velocity = [self._velocity[p] for p in params]
        if velocity:
            gradients = [p.grad for p in params if p.grad is not None]
            if all(g.layout == torch.strided for g in gradients):
                torch._foreach_lerp_(velocity, gradients, 1 - self.beta)
            else:  # no lerp of sparse gradients
                torch._foreach_mul_(velocity, self.beta)
                torch._foreach_add_(velocity, gradients, alpha=1 - self.beta)

    def _convert_velocity(self) -> None:
        """Follow parameters whose dtype or device has changed, as by `model.double()`."""
        for p, velocity in self._velocity.items():
            if velocity.dtype != p.dtype or velocity.device != p.device:
                self._velocity[p] = velocity.to(device=p.device, dtype=p.dtype)

    def end_step(self) -> None:
        """Perturb the weights again, also after a skipped step."""
        if self._training:
            self._climb()

    # ---- The perturbation -----------------------------------------------------------------------

    def _rho(self) -> float:
        return self.rho(self._steps) if callable(self.rho) else self.rho

    def _offsets(self) -> dict[Tensor, Tensor]:
        radius = {
            p: r
            for p, r in radii(self.param_groups, self._rho()).items()
            if p in self._velocity and self._velocity[p].shape == p.shape
        }
        if not radius:
            return {}
        offsets = at_length([self._velocity[p] for p in radius], [-r for r in radius.values()])
        return dict(zip(radius, offsets, strict=True))

    @torch.no_grad()
    def _climb(self) -> None:
        if self._clean:
            return
        self._convert_velocity()
        offsets = self._offsets()
        if offsets:
            self._clean = {p: p.detach().clone() for p in offsets}
            torch._foreach_add_(list(offsets), list(offsets.values()))
            self._resolution.check(
                type(self).__name__,
                list(offsets),
                list(self._clean.values()),
                list(offsets.values()),
            )
        self._stamps = {p: _stamp(p) for p in offsets}

    @torch.no_grad()
    def _return(self) -> None:
        if not self._clean:
            return
        if not self._untouched():
            raise RuntimeError(
                "the model's weights aren't the perturbed ones that OnePassSmoother put there: "
                "write to weights inside `with opt.unperturbed():`, and load the model together "
                "with the optimizer state saved at the same moment"
            )
        copy_into(list(self._clean), list(self._clean.values()))
        self._clean, self._stamps = {}, {}

    def _untouched(self) -> bool:
        """Return whether nobody wrote to the weights; compare values only if that is unclear."""
        if self._stamps is not None and all(_stamp(p) == s for p, s in self._stamps.items()):
            return True
        if any(p.shape != clean.shape for p, clean in self._clean.items()):
            return False
        return all(
            torch.allclose(
                local(p), local(self._clean[p] + offset).to(local(p)), rtol=1e-3, atol=1e-6
            )
            for p, offset in self._offsets().items()
            if p in self._clean
        )

    def eval(self) -> None:
        """Put the clean weights into the model, until `train()`, also those of levels inside.

        A base optimizer with an `eval()` of its own (a schedule-free one) then puts the weights to
        evaluate there.
        """
        self._pause()
        super().eval()

    def train(self) -> None:
        """Put the perturbed weights into the model, for training, also those of levels inside."""
        super().train()
        self._resume()

    def _pause(self) -> None:
        """Put this level's clean weights into the model."""
        self._return()
        self._training = False

    def _resume(self) -> None:
        """Put this level's perturbed weights into the model."""
        self._training = True
        self._climb()

    @contextmanager
    def unperturbed(self) -> Iterator[None]:
        """Put the clean weights into the model inside the context, also those of levels inside."""
        training = self._training
        self._pause()
        try:
            with super().unperturbed():
                yield
        finally:
            if training:
                self._resume()

    def detach(self) -> None:
        """Put the clean weights into the model."""
        self._pause()

    # ---- State ----------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the running gradient and, if the weights are perturbed, the clean ones."""
        index = {p: str(i) for i, p in enumerate(self.parameters)}
        return {
            "steps": self._steps,
            "training": self._training,
            "velocity": {index[p]: v for p, v in self._velocity.items() if p in index},
            "clean": {index[p]: w for p, w in self._clean.items() if p in index},
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore them; the model's own weights are not changed."""
        parameters = self.parameters
        for name in ("velocity", "clean"):
            values = {
                parameters[int(i)]: value.to(parameters[int(i)], copy=True)
                for i, value in state.get(
                    name, {}
                ).items()  # distributed checkpoints drop empty ones
            }
            setattr(self, f"_{name}", values)
        self._steps, self._training = state["steps"], state["training"]
        self._stamps = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_stamps": None}  # a copy has others


def _stamp(parameter: Tensor) -> tuple[int, int]:
    """Return numbers that change when the parameter is written to or given other data."""
    return parameter._version, parameter.data_ptr() if all_plain([parameter]) else 0
