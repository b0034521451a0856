"""Landscape level: descend along the gradient of perturbed weights, towards flat minima."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradreg.running_statistics import unchanged_statistics
from gradreg.smooth.closure import anew
from gradreg.smooth.perturbations import SAM, LearningPerturbation, Perturbation
from gradreg.smooth.perturbations.norms import (
    at_length,
    copy_into,
    global_norm,
    inner_product,
    radii,
    radius_of,
    times,
)
from gradreg.wrapper import Closure, OptimizerWrapper


class PerturbationSmoother(OptimizerWrapper):
    r"""Give the base optimizer the gradient at perturbed weights instead of the present ones.

    .. math::
        g_s = \frac{1}{n} \sum_{i=1}^{n} \nabla L(w + \epsilon_i), \qquad
        \epsilon_1, \ldots, \epsilon_n = perturbation(w, \nabla L(w), \rho)

    One pass at w, one for each offset (SAM has one), then the base optimizer's step from w, which
    is put back bit by bit from a copy. The closure is called 1 + n times; running statistics
    (BatchNorm) move in the first pass only. With rho = 0 everywhere there is one pass, and the
    step is the bare optimizer's.

    With `every=k` (LookSAM) that happens in every k-th step. The steps between have one pass, and
    reuse what the k-th found orthogonal to the plain gradient g, which changes slowly:

    .. math::
        g_v = g_s - \frac{\langle g_s, g \rangle}{\|g\|^2} g, \qquad
        g + \alpha \frac{\|g\|}{\|g_v\|} g_v

    with norms over all the perturbed parameters. A skipped step doesn't count, and changes nothing
    that is reused.

    A param group's own `"perturbation_rho"` entry replaces `rho` for its parameters (`"rho"` would
    be Adadelta's); at 0 they stay where they are.

    The closure zeroes the gradients and sees the whole batch, all micro-batches of an accumulation
    included. `step()` without one is an error, between two k-th steps too: use `OnePassSmoother`.
    A gradient that isn't finite perturbs nothing, so that the base optimizer gets what it would
    get without a smoother; with a `GradScaler` the step is skipped.

    Under `DistributedDataParallel` the base optimizer's gradient is always the average over the
    ranks. So is by default the one that SAM ascends along: the trajectory is that of one process
    on the joined batch. With `ascent="local"` each rank ascends along its own part's gradient, as
    SAM's authors do (m-sharpness, m the size of that part), which also saves a communication.

    Args:
        optimizer: the optimizer to wrap.
        rho: radius of the perturbation, or a function of the number of steps made so far.
        perturbation: the offsets; see `gradreg.smooth.perturbations`.
        every: k, the number of steps to one with further passes.
        alpha: how much of the reused component is added in the steps between.
        ascent: "averaged", or "local": needs the DDP module as `model`.
        model: where running statistics are. Needed only if the model is compiled; otherwise they
            are found as modules run.
        replay_rng: run the further passes from the random state of the first, so that dropout
            draws the same masks in all of them.

    Raises:
        ValueError: rho or alpha is negative or not finite, every < 1, or local ascent asked for
            with every > 1 (the reused component would differ between ranks).
        TypeError: local ascent of a model that has no `no_sync`.

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

        Y. Liu, S. Mai, X. Chen, C.-J. Hsieh, Y. You, Towards Efficient and Scalable
        Sharpness-Aware Minimization, 2022: `every`, there α = 0.7 and k = 5.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rho: float | Callable[[int], float] = 0.05,
        perturbation: Perturbation | None = None,
        *,
        every: int = 1,
        alpha: float = 0.7,
        ascent: Literal["averaged", "local"] = "averaged",
        model: nn.Module | None = None,
        replay_rng: bool = False,
    ) -> None:
        super().__init__(optimizer)
        if isinstance(every, bool) or every != int(every) or every < 1:
            raise ValueError(f"expected a whole number of steps every >= 1, found {every}")
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"expected a finite alpha >= 0, found {alpha}")
        _check_ascent(ascent, every, model)
        self.rho = rho if callable(rho) else radius_of(rho)
        if perturbation is not None and (
            isinstance(perturbation, type) or not hasattr(perturbation, "offsets")
        ):
            raise TypeError(
                f"perturbation must be an object with a method `offsets`, found {perturbation!r}: "
                "for instance gradreg.ASAM()"
            )
        self.perturbation: Perturbation = SAM() if perturbation is None else perturbation
        self.every, self.alpha, self.ascent = int(every), alpha, ascent
        self.model, self.replay_rng = model, replay_rng
        self._steps = 0
        self._flat: dict[Tensor, Tensor] = {}  # g_v / |g_v|
        self._forget()

    def _forget(self) -> None:
        """Drop what belongs to a step in progress."""
        self._evaluated = self._perturbed = False
        self._next_flat: dict[Tensor, Tensor] | None = None
        self._scaler: Any = None

    # ---- The step -------------------------------------------------------------------------------

    def _pass_on(self, step: Any) -> Any:
        if step.scaler is not None and step.scaler.is_enabled():
            self._scaler = step.scaler
        return super()._pass_on(step)

    def evaluate(self, closure: Closure) -> Any:
        """Leave the gradient to descend along in `.grad`; return the loss at the clean weights."""
        self._evaluated = True
        moving = radii(self.param_groups, self.rho(self._steps) if callable(self.rho) else self.rho)
        if not moving:
            self._next_flat = {}
            return closure()
        if self._steps % self.every and self._fits(self._flat):
            loss = closure()
            self._add_flat(moving)
            return loss
        rewind = self._random_state()
        with self._unsynchronised():
            loss = anew(closure, self.parameters)()
        self._further_passes(closure, moving, rewind)
        return loss

    @torch.no_grad()
    def _further_passes(
        self, closure: Closure, moving: Mapping[Tensor, float], rewind: Callable[[], None]
    ) -> None:
        params = [p for p in moving if p.grad is not None]
        grads = self._unscaled([_dense(p) for p in params])
        finite = None if self._scaler is None or not grads else global_norm(grads).isfinite()
        plain = [g.clone() for g in grads] if self.every > 1 else []
        passes = self._offsets(params, grads, [moving[p] for p in params])
        offsets = next(passes, None)
        if offsets is None:  # nowhere to look: the plain gradient stands
            return
        # From here on one copy of the parameters is all the memory that is held.
        grads.clear()
        self._drop_gradients()
        total: dict[Tensor, Tensor] = {}
        n = 0
        with _restored(params) as clean, unchanged_statistics(self.model):
            while offsets is not None:
                if n > 0:
                    copy_into(params, clean)
                    self._drop_gradients()
                if params:
                    torch._foreach_add_(params, list(offsets))
                offsets = None
                rewind()
                with torch.enable_grad():
                    closure()
                n += 1
                offsets = next(passes, None)
                if n > 1 or offsets is not None:
                    _add_gradients(total, self.parameters)
        for p, gradients in total.items():
            p.grad = gradients / n
        if plain:
            self._next_flat = _orthogonal(params, plain)
        if finite is not None:
            _spoil_unless(finite, params)

    def _offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[Sequence[Tensor]]:
        if params:
            self._perturbed = True
            return iter(self.perturbation.offsets(params, grads, rhos))
        # Without synchronisation that was no gradient to descend along, so there's one more pass.
        return iter([[]] if self.ascent == "local" else [])

    def _drop_gradients(self) -> None:
        for p in self.parameters:
            p.grad = None

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        # The whole closure, for DDP asks for it in the forward pass already.
        return self.model.no_sync() if self.ascent == "local" else nullcontext()  # type: ignore[union-attr, operator]

    def _unscaled(self, grads: list[Tensor]) -> list[Tensor]:
        """Return the gradients without the scaler's factor; it changes from step to step."""
        if self._scaler is None or self._scaler._scale is None or not grads:
            return grads  # with no scale yet the closure never asked for it, as the scaler will say
        return times(grads, self._scaler._scale.double().reciprocal().float())

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

    def gradient_given(self) -> None:
        """Refuse: one gradient is there, and the perturbed weights' can't be computed."""
        # Distributed checkpointing steps once with zero gradients to create optimizer state.
        moving = radii(self.param_groups, self.rho(self._steps) if callable(self.rho) else self.rho)
        if any(p.grad is not None and p.grad.any() for p in moving):
            raise RuntimeError(
                "PerturbationSmoother expects a closure that it can call again at the perturbed "
                "weights, found step() without one: use opt.step(closure), with a GradScaler "
                "opt.step(closure, scaler=scaler), or OnePassSmoother (one_pass in regularize), "
                "which needs no closure"
            )

    # ---- The reused component -------------------------------------------------------------------

    def _fits(self, flat: Mapping[Tensor, Tensor]) -> bool:
        return bool(flat) and all(v.shape == p.shape for p, v in flat.items())

    @torch.no_grad()
    def _add_flat(self, moving: Mapping[Tensor, float]) -> None:
        params = [p for p in moving if p in self._flat and p.grad is not None]
        if params:
            grads = [_dense(p) for p in params]
            flat = [self._flat[p] for p in params]
            length = (self.alpha * global_norm(grads)).nan_to_num(0.0, 0.0, 0.0)
            torch._foreach_add_(grads, times(flat, length))

    def after_update(self) -> None:
        """Count the step and keep what it found: one that is skipped leaves no trace."""
        self._steps += self._evaluated
        if self._next_flat is not None:
            self._flat = self._next_flat
        if self._perturbed and _learns(self.perturbation):
            self.perturbation.learn()

    def end_step(self) -> None:
        """Start afresh."""
        self._forget()

    # ---- State ----------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the step count, the reused component and what the perturbation has learnt."""
        parameters = self.parameters
        state: dict[str, Any] = {
            "steps": self._steps,
            "flat": {str(i): self._flat[p] for i, p in enumerate(parameters) if p in self._flat},
        }
        if _learns(self.perturbation):
            state["perturbation"] = self.perturbation.state_dict(parameters)
        return state

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        parameters = self.parameters
        self._steps = state["steps"]
        self._flat = {
            parameters[int(i)]: value.to(parameters[int(i)], copy=True)
            for i, value in state.get("flat", {}).items()
        }
        if _learns(self.perturbation) and "perturbation" in state:
            self.perturbation.load_state_dict(state["perturbation"], parameters)


def _learns(perturbation: Perturbation) -> TypeGuard[LearningPerturbation]:
    return hasattr(perturbation, "learn")  # isinstance of a protocol is slow


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
        copy_into(params, clean)


def _add_gradients(total: dict[Tensor, Tensor], params: Sequence[Tensor]) -> None:
    for p in params:
        if p.grad is not None:
            total[p] = total[p] + p.grad if p in total else p.grad.clone()


def _orthogonal(params: Sequence[Tensor], plain: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """Return g_v at length 1: the gradient less its component along the plain one."""
    pairs = [(p, g) for p, g in zip(params, plain, strict=True) if p.grad is not None]
    if not pairs:
        return {}
    here, flat = [p for p, _ in pairs], [g for _, g in pairs]
    there = [_dense(p) for p in here]
    square = inner_product(flat, flat)
    along = torch.where(square > 0, inner_product(there, flat) / square, 0)
    flat = times(flat, -along)
    torch._foreach_add_(flat, there)
    # What is no more than rounding error has no direction.
    eps = max(torch.finfo(g.dtype).eps for g in there)
    norm = global_norm(flat)
    return dict(
        zip(here, at_length(flat, (norm > 4 * eps * global_norm(there)) * 1.0, norm), strict=True)
    )


def _spoil_unless(finite: Tensor, params: Sequence[Tensor]) -> None:
    """Have the scaler skip the step if the first pass overflowed, whatever the others gave."""
    for p in params:
        if p.grad is not None:
            p.grad.add_(torch.where(finite.to(p.device), 0.0, math.nan))
            return


def _check_ascent(ascent: str, every: int, model: nn.Module | None) -> None:
    if ascent not in ("averaged", "local"):
        raise ValueError(f"expected ascent 'averaged' or 'local', found {ascent!r}")
    if ascent == "averaged":
        return
    if every > 1:
        raise ValueError(
            f"expected ascent 'averaged' with every > 1, found 'local' with every={every}: the "
            "component that is reused would differ between ranks"
        )
    if not hasattr(model, "no_sync"):
        raise TypeError(
            "local ascent expects the model wrapped in DistributedDataParallel, found model="
            f"{type(model).__name__}: pass model=ddp, whose no_sync() keeps the first pass local"
        )
