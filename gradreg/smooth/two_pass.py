"""The two-pass smoother: sharpness-aware minimisation and its relatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradreg.buffers import unchanged_buffers
from gradreg.smooth.closure import require_new_gradients
from gradreg.smooth.looksam import ReusedComponent
from gradreg.smooth.passes import (
    add_gradients,
    dense_gradient,
    drop_gradients,
    invalidate_unless,
    random_state,
    restored,
)
from gradreg.smooth.perturbations import SAM, LearningPerturbation, Perturbation
from gradreg.smooth.perturbations.norms import copy_into, global_norm, radii, radius_of, times
from gradreg.smooth.resolution import ResolutionCheck
from gradreg.wrapper import Closure, OptimizerWrapper


class PerturbationSmoother(OptimizerWrapper):
    r"""A wrapper that gives the base optimizer the gradient at perturbed weights.

    .. math::
        g_s = \frac{1}{n} \sum_{i=1}^{n} \nabla L(w + \epsilon_i), \qquad
        \epsilon_1, \ldots, \epsilon_n = perturbation(w, \nabla L(w), \rho)

    One step:

    1. The closure computes the gradient at the weights w.
    2. Climb: the perturbation's offset is added to the weights (SAM has n = 1 of them).
    3. The closure computes the gradient at w + ε. 2 and 3 are repeated for each offset.
    4. Return: w is copied back, bit by bit.
    5. The base optimizer steps from w with the mean of the gradients from 3.

    So the closure is called 1 + n times. Buffers (BatchNorm's running statistics, a queue) are
    updated in the first pass only, also those of a second network that the closure calls. With
    rho = 0 everywhere there is one pass, and the step is the bare optimizer's.

    With `every=k` (LookSAM) only every k-th step is like that. The steps between have one pass,
    and reuse the component of :math:`g_s` orthogonal to the plain gradient g, which changes
    slowly:

    .. math::
        g_v = g_s - \frac{\langle g_s, g \rangle}{\|g\|^2} g, \qquad
        g + \alpha \frac{\|g\|}{\|g_v\|} g_v

    with norms over all the perturbed parameters. A skipped step doesn't count, and doesn't change
    the reused component.

    A param group's own `"perturbation_rho"` entry replaces `rho` for its parameters (`"rho"` would
    be Adadelta's). At 0 they are not perturbed.

    The closure zeroes the gradients and covers the whole batch, including all micro-batches of an
    accumulation. It must not draw the batch itself: each pass would have another. `step()` without
    a closure is an error, also between two k-th steps: use `OnePassSmoother`. A gradient that
    isn't finite perturbs nothing, so that the base optimizer receives what it would receive
    without a smoother; with a `GradScaler` the step is skipped.

    Under `DistributedDataParallel` the base optimizer's gradient is always the average over the
    processes. By default SAM climbs along the averaged gradient too, so that the trajectory is
    that of one process on the joined batch. With `ascent="local"` each process climbs along its
    own gradient, as SAM's authors do (m-sharpness, with m the size of a process' batch), which
    also saves a communication.

    Args:
        optimizer: the optimizer to wrap.
        rho: radius of the perturbation, or a function of the number of steps made so far.
        perturbation: the offsets; see `gradreg.smooth.perturbations`.
        every: k, the number of steps from one with further passes to the next.
        alpha: how much of the reused component is added in the steps between.
        ascent: "averaged", or "local", which needs the DDP module as `model`.
        model: the model with the buffers. Needed only if the model is compiled or replaces its
            buffers; otherwise its modules are found when they are called, as a second network's
            are. Where something is compiled, give all networks with buffers, in an
            `nn.ModuleList`.
        replay_rng: run the further passes from the random state of the first, so that dropout
            draws the same masks in all of them.

    Raises:
        ValueError: rho or alpha is negative or not finite, every < 1, or local ascent with
            every > 1 (the reused component would differ between processes).
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
        self._reused = ReusedComponent()
        self._resolution = ResolutionCheck()
        self._reset()

    def _reset(self) -> None:
        """Drop what belongs to a step in progress."""
        self._evaluated = self._perturbed = False
        self._reused.discard_pending()
        self._scaler: Any = None

    # ---- The step -------------------------------------------------------------------------------

    def begin_step(self, scaler: Any) -> None:
        """Keep the scaler, whose factor is in the gradients."""
        self._scaler = scaler

    def evaluate(self, closure: Closure) -> Any:
        """Leave the smoothed gradient in `.grad`; return the loss at the clean weights."""
        self._evaluated = True
        radius = self._radii()
        if not radius:
            self._reused.propose_none()
            return closure()
        if self._steps % self.every and self._reused.is_usable():
            loss = closure()
            with torch.no_grad():
                self._reused.add_to_gradients(radius, self.alpha)
            return loss
        replay = random_state(self.parameters) if self.replay_rng else _do_nothing
        with self._without_averaging():
            loss = require_new_gradients(closure, self.parameters)()
        self._smooth(closure, radius, replay)
        return loss

    @torch.no_grad()
    def _smooth(
        self, closure: Closure, radius: Mapping[Tensor, float], replay: Callable[[], None]
    ) -> None:
        """Replace the gradients in `.grad` by their mean over the perturbed weights."""
        params = [p for p in radius if p.grad is not None]
        grads = self._unscaled([dense_gradient(p) for p in params])
        finite = None if self._scaler is None or not grads else global_norm(grads).isfinite()
        plain = [g.clone() for g in grads] if self.every > 1 else []
        all_offsets = self._offsets(params, grads, [radius[p] for p in params])
        offsets = next(all_offsets, None)
        if offsets is None:  # no perturbation: the plain gradient is used
            return
        # During the passes no memory is held but one copy of the parameters.
        grads.clear()
        drop_gradients(self.parameters)
        total: dict[Tensor, Tensor] = {}
        n = 0
        with restored(params) as clean, unchanged_buffers(self.model):
            while offsets is not None:
                if n > 0:
                    copy_into(params, clean)
                    drop_gradients(self.parameters)
                if params:
                    torch._foreach_add_(params, list(offsets))  # climb
                    self._resolution.check(type(self).__name__, params, clean, offsets)
                offsets = None
                replay()
                with torch.enable_grad():
                    closure()
                n += 1
                offsets = next(all_offsets, None)
                if n > 1 or offsets is not None:
                    add_gradients(total, self.parameters)
        for p, gradients in total.items():
            p.grad = gradients / n
        if plain:
            self._reused.propose(params, plain)
        if finite is not None:
            invalidate_unless(finite, params)

    def _radii(self) -> dict[Tensor, float]:
        """Return the radius of each parameter that is perturbed."""
        rho = self.rho(self._steps) if callable(self.rho) else self.rho
        return radii(self.param_groups, rho)

    def _offsets(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], rhos: Sequence[float]
    ) -> Iterator[Sequence[Tensor]]:
        if params:
            self._perturbed = True
            return iter(self.perturbation.offsets(params, grads, rhos))
        # A local gradient is not the average to descend along, so one more pass computes that.
        return iter([[]] if self.ascent == "local" else [])

    def _without_averaging(self) -> AbstractContextManager[Any]:
        # Around the whole closure, since DDP reads the setting in the forward pass.
        return self.model.no_sync() if self.ascent == "local" else nullcontext()  # type: ignore[union-attr, operator]

    def _unscaled(self, grads: list[Tensor]) -> list[Tensor]:
        """Return the gradients without the scaler's factor, which changes from step to step."""
        if self._scaler is None or self._scaler._scale is None or not grads:
            return grads  # without a scale the closure hasn't scaled; the scaler reports that
        return times(grads, self._scaler._scale.double().reciprocal().float())

    def gradient_given(self) -> None:
        """Raise an error: without a closure there is no gradient at the perturbed weights."""
        # A zero gradient would perturb nothing.
        if any(p.grad is not None and p.grad.any() for p in self._radii()):
            raise RuntimeError(
                "PerturbationSmoother expects a closure that it can call again at the perturbed "
                "weights, found step() without one: use opt.step(closure), with a GradScaler "
                "opt.step(closure, scaler=scaler), or OnePassSmoother (one_pass in regularize), "
                "which needs no closure"
            )

    def after_update(self) -> None:
        """Count the step and adopt what it learnt; a skipped step doesn't get here."""
        self._steps += self._evaluated
        self._reused.commit()
        if self._perturbed and _learns(self.perturbation):
            self.perturbation.learn()

    def end_step(self) -> None:
        """Drop what belongs to this step."""
        self._reset()

    # ---- State ----------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the step count, the reused component and the perturbation's state."""
        parameters = self.parameters
        state = {"steps": self._steps, "flat": self._reused.state_dict(parameters)}
        if _learns(self.perturbation):
            state["perturbation"] = self.perturbation.state_dict(parameters)
        return state

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        parameters = self.parameters
        self._steps = state["steps"]
        self._reused.load_state_dict(state.get("flat", {}), parameters)
        if _learns(self.perturbation) and "perturbation" in state:
            self.perturbation.load_state_dict(state["perturbation"], parameters)


def _do_nothing() -> None:
    pass


def _learns(perturbation: Perturbation) -> TypeGuard[LearningPerturbation]:
    return hasattr(perturbation, "learn")  # isinstance of a protocol is slow


def _check_ascent(ascent: str, every: int, model: nn.Module | None) -> None:
    if ascent not in ("averaged", "local"):
        raise ValueError(f"expected ascent 'averaged' or 'local', found {ascent!r}")
    if ascent == "averaged":
        return
    if every > 1:
        raise ValueError(
            f"expected ascent 'averaged' with every > 1, found 'local' with every={every}: the "
            "reused component would differ between processes"
        )
    if not hasattr(model, "no_sync"):
        raise TypeError(
            "local ascent expects the model wrapped in DistributedDataParallel, found model="
            f"{type(model).__name__}: pass model=ddp, whose no_sync() keeps the first pass local"
        )
