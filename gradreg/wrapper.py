"""The base class of all wrappers: an optimizer around another one.

A level (mask, smoother, projector) subclasses `OptimizerWrapper` and overrides some of the hooks
below, never `step`. One step:

    outermost.step(closure) -> ... -> innermost.step -> base.step(one `_Step` object)
        the base optimizer calls that object as its closure (without a closure, a step pre-hook
        calls it, and the base optimizer is given none either), which runs
            1. `evaluate`       of each level, innermost around outermost, around the closure
            2. `accept`         of each level; if one returns False, there is no update
            3. `before_update`  parameters are clean, the gradient is final
        the base optimizer updates the parameters
        4. `after_update`       innermost first, before the step post-hooks
    5. `end_step`               always: after a step, a skipped step or an exception

Weights are perturbed only during 1, and a step is skipped in 2. So in 3 and 4 each level sees the
clean weights just before and after the base optimizer's update, in every nesting.

`torch.distributed.checkpoint` creates the state of a fresh optimizer by one step with zero
gradients and a learning rate of 0. The levels take no part in that step.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradreg.forwarding import Forwarding
from gradreg.state_dict import STATE_KEY, join, split

Closure = Callable[[], Any]


class _SkippedError(Exception):
    """A declined step: raised in the base optimizer's closure, caught by the outermost step."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss


class _Step:
    """A step in progress, which the base optimizer calls as its closure."""

    def __init__(
        self,
        owner: OptimizerWrapper,
        closure: Closure | None,
        scaler: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.owner, self.closure = owner, closure
        self.args, self.kwargs = args, kwargs  # of the base optimizer's step, besides the closure
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.creates_state = closure is None and _creates_state(owner)
        self.levels: list[OptimizerWrapper] = []  # outermost first
        self.accepted = self.finished = False

    def enter(self, level: OptimizerWrapper) -> None:
        """Add a level, from the outermost inwards."""
        if not self.creates_state:
            self.levels.append(level)
            level._step_in_progress = True
            level.begin_step(self.scaler)

    def update(self, base: Optimizer) -> Any:
        """Make the base optimizer's step, which calls this object before it updates."""
        if self.closure is not None or not _runs_hooks(base):
            return base.step(self, *self.args, **self.kwargs)
        handle = base.register_step_pre_hook(self._before_step)  # the last: after the caller's
        try:
            return base.step(*(None, *self.args) if self.args else (), **self.kwargs)
        finally:
            handle.remove()

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        if not self.accepted:  # a subclass' step that calls its parent's runs hooks twice
            self()

    def __call__(self) -> Any:
        with torch.enable_grad():
            loss = self._evaluate()
        if not self.accepted:  # LBFGS calls its closure many times; the first call decides
            # A list, not a generator: `accept` of every level runs, since it counts the step.
            if not all([self._finite(), *[level.accept() for level in self.levels]]):
                raise _SkippedError(loss)
            self.accepted = True
            with torch.no_grad():
                for level in self.levels:
                    level.before_update()
        return loss

    def _evaluate(self) -> Any:
        if self.closure is None:
            for level in self.levels:
                level.gradient_given()
            return None
        closure: Closure = self._pass
        for level in self.levels:
            closure = partial(level.evaluate, closure)
        return closure()

    def _pass(self) -> Any:
        for level in self.levels:
            level.begin_pass()
        return None if self.closure is None else self.closure()

    def finish(self, *_: Any) -> None:
        """Call `after_update` of every level. Takes the arguments of a step post-hook."""
        if self.accepted and not self.finished:
            self.finished = True
            with torch.no_grad():
                for level in reversed(self.levels):
                    level.after_update()

    @torch.no_grad()
    def end(self) -> None:
        """Call `end_step` of every level, even if one of them raises."""
        with ExitStack() as stack:
            for level in self.levels:
                level._step_in_progress = False
                stack.callback(level.end_step)  # innermost first

    def _finite(self) -> bool:
        """Unscale the gradients; return whether all of them are finite."""
        if self.scaler is None:
            return True
        self.scaler.unscale_(self.owner)
        infinite = self.scaler._found_inf_per_device(self.owner)
        return not any(value.item() for value in infinite.values())


def _creates_state(optimizer: OptimizerWrapper) -> bool:
    """Return whether a step only creates the state of a fresh optimizer.

    That is how `torch.distributed.checkpoint` prepares for saving and loading: the learning rates
    are 0, and so are all gradients.
    """
    rates = [group["lr"] for group in optimizer.param_groups if "lr" in group]
    if any(isinstance(rate, Tensor) and rate.device.type != "cpu" for rate in rates):
        return False  # reading it would wait for the device
    return (
        not any(rates)
        and not optimizer.state
        and not any(p.grad is not None and p.grad.any() for p in optimizer.parameters)
    )


def _runs_hooks(optimizer: Optimizer) -> bool:
    """Return whether the optimizer's step runs step pre-hooks."""
    return bool(getattr(type(optimizer).step, "hooked", False)) and hasattr(
        optimizer, "_optimizer_step_pre_hooks"
    )


@cache
def _signature_of_step(kind: type[Optimizer]) -> inspect.Signature:
    return inspect.signature(kind.step)


def _check_arguments(
    base: Optimizer, closure: Closure | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Raise a TypeError where the base optimizer's step can't be called like this."""
    name = type(base).__name__
    signature = _signature_of_step(type(base))  # type: ignore[arg-type]
    parameter = signature.parameters.get("closure")
    if closure is None and parameter is not None and parameter.default is parameter.empty:
        raise TypeError(
            f"{name}.step() expects a closure, found none: {name} evaluates the loss itself, so "
            "pass a closure that zeroes the gradients, runs forward and backward and returns the "
            "loss, as in opt.step(closure); with a GradScaler, opt.step(closure, scaler=scaler)"
        )
    if args or kwargs:
        try:
            signature.bind(base, closure, *args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{name}.step{signature} doesn't take the arguments that step() was called with: "
                f"{error}"
            ) from None


class OptimizerWrapper(Forwarding, Optimizer):
    """Base class of the three levels: an optimizer around another optimizer.

    It is an instance of `torch.optim.Optimizer`. `param_groups`, `state`, `defaults`, hooks and
    `zero_grad` are those of the innermost optimizer. `state_dict` is that optimizer's, with the
    wrappers' own state under one more key, `"gradreg"`. So a bare optimizer's state dict loads
    into a wrapper, and a wrapper's into a bare optimizer.

    The methods of a single level, such as `PostVerificationMask.verify`, can be called on every
    wrapper of the chain.

    A skipped step runs the step pre-hooks, not the post-hooks, and returns the closure's loss.

    Args:
        optimizer: the optimizer *instance* to wrap, bare or wrapped.

    Raises:
        TypeError: `optimizer` is not an optimizer instance.

    Example:
        >>> import gradreg, torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> opt = gradreg.OptimizerWrapper(torch.optim.SGD([weight], lr=0.1))
        >>> weight.grad = torch.ones(2)
        >>> opt.step()
        >>> weight.tolist()
        [0.8999999761581421, 0.8999999761581421]
        >>> type(opt.base).__name__
        'SGD'
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} wraps an optimizer instance, found "
                f"{optimizer!r}: build it first, as in "
                f"{type(self).__name__}(torch.optim.AdamW(model.parameters()), ...)"
            )
        self.inner = optimizer
        self._step_in_progress = False
        Optimizer.__setstate__(self, {})  # not __init__: the parameters are the inner one's

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning passes a proxy around, of a class derived from ours, that reads from the real
        # optimizer. What a method called on the proxy writes goes to the real one as well.
        own = self.__dict__
        real = None if "inner" in own or name in own else own.get("_optimizer")
        if real is None:
            super().__setattr__(name, value)
        else:
            setattr(real, name, value)

    # ---- Hooks for the levels ----------------------------------------------------------------

    def begin_step(self, scaler: Any) -> None:
        """Run at the start of every step.

        Args:
            scaler: the enabled `GradScaler` that `step` was called with, or None.
        """

    def evaluate(self, closure: Closure) -> Any:
        """Compute the gradient for the base update: leave it in `.grad`, return the loss."""
        return closure()

    def begin_pass(self) -> None:
        """Run before each call of the caller's closure, once whatever the nesting."""

    def gradient_given(self) -> None:
        """Run in place of `evaluate` in `step()` without a closure: `.grad` is computed already."""

    def accept(self) -> bool:
        """Return whether the base optimizer may use the gradient; False skips the whole step."""
        return True

    def before_update(self) -> None:
        """Run under `no_grad` with clean parameters, just before the base optimizer updates."""

    def after_update(self) -> None:
        """Run under `no_grad` just after the base optimizer has updated."""

    def end_step(self) -> None:
        """Run at the end of every step: accepted, skipped or ended by an exception."""

    def get_extra_state(self) -> dict[str, Any]:
        """Return this level's state: tensors and primitives only, parameters by index.

        Keys must be strings: distributed checkpointing loses the values of others.
        """
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""

    def detach(self) -> None:
        """Remove this level's traces from the model; called by `unwrap`."""

    # ---- The chain ----------------------------------------------------------------------------

    @property
    def base(self) -> Optimizer:
        """The innermost optimizer, which is not a wrapper."""
        return self.inner.base if isinstance(self.inner, OptimizerWrapper) else self.inner

    def unwrap(self) -> Optimizer:
        """Detach every level from the model and return the bare optimizer."""
        self.detach()
        return self.inner.unwrap() if isinstance(self.inner, OptimizerWrapper) else self.inner

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of `param_groups`: the order of the state's indices."""
        return [p for group in self.param_groups for p in group["params"]]

    # ---- The step -----------------------------------------------------------------------------

    @_disable_dynamo  # compiled, the parts between its many graph breaks lost side effects
    def step(
        self, closure: Closure | None = None, *args: Any, scaler: Any = None, **kwargs: Any
    ) -> Any:
        """Perform one step, or none if a level declines it.

        Args:
            closure: zeroes the gradient, runs forward and backward, returns the loss. Without it
                the gradient in `.grad` is used.
            scaler: the `torch.amp.GradScaler` that scaled the loss inside `closure` (its own
                `step` takes no closures). The gradient is unscaled once, and the step is skipped
                if any of it isn't finite. Call `scaler.update()` afterwards, as usual.
            **kwargs: further arguments of the base optimizer's `step`, such as `hessian=`.

        Returns:
            What the base optimizer's `step` returns: the loss of the (first) closure call.

        Raises:
            ValueError: a scaler without a closure.
            TypeError: arguments that the base optimizer's `step` doesn't take, or no closure where
                it needs one (LBFGS).
            RuntimeError: called inside a step, or the base optimizer never called its closure.
        """
        if self._step_in_progress:
            raise RuntimeError(
                f"step() was called inside a step of the same {type(self).__name__}, from its "
                "closure or one of its hooks: make one step after the other"
            )
        if isinstance(closure, _Step):  # called by the next wrapper outwards
            return self._step_inside(closure)
        if scaler is not None and closure is None:
            raise ValueError(
                "step(scaler=...) expects a closure, found none: without one, use scaler.step(opt)"
            )
        if closure is None or args or kwargs:
            _check_arguments(self.base, closure, args, kwargs)
        step = _Step(self, closure, scaler, args, kwargs)
        with ExitStack() as stack:
            stack.callback(step.end)
            self._finish_before_post_hooks(step, stack)
            try:
                loss = self._step_inside(step)
            except _SkippedError as skipped:
                return skipped.loss
            if not step.accepted:
                raise RuntimeError(
                    f"{type(self.base).__name__}.step() returned without calling its closure, so "
                    "that no wrapper saw the gradient. If a step pre-hook replaced the closure, "
                    "remove it. If the optimizer itself decides when to step, as Accelerate's "
                    "does, wrap the bare optimizer and prepare the wrapper"
                )
            step.finish()
            return loss

    step.hooked = True  # type: ignore[attr-defined]  # the base optimizer's step runs the hooks

    def _step_inside(self, step: _Step) -> Any:
        step.enter(self)
        if isinstance(self.inner, OptimizerWrapper):
            return self.inner.step(step)  # by attribute: schedulers replace it on the instance
        return step.update(self.inner)

    def _finish_before_post_hooks(self, step: _Step, stack: ExitStack) -> None:
        """Call `after_update` before any step post-hook, which may also raise."""
        hooks = getattr(self.base, "_optimizer_step_post_hooks", None)
        if hooks is not None:  # an optimizer without post-hooks has finished when it returns
            handle = self.base.register_step_post_hook(step.finish)
            hooks.move_to_end(handle.id, last=False)
            stack.callback(handle.remove)

    # ---- Delegation -----------------------------------------------------------------------------

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The innermost optimizer's."""
        return self.inner.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.inner.param_groups = groups

    @property
    def state(self) -> Any:
        """The innermost optimizer's."""
        return self.inner.state

    @state.setter
    def state(self, state: Any) -> None:
        self.inner.state = state

    @property
    def defaults(self) -> dict[str, Any]:
        """The innermost optimizer's."""
        return self.inner.defaults

    @defaults.setter
    def defaults(self, defaults: dict[str, Any]) -> None:
        self.inner.defaults = defaults

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients."""
        self.inner.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the innermost optimizer's `param_groups`."""
        self.inner.add_param_group(param_group)

    def register_step_pre_hook(self, hook: Any) -> RemovableHandle:
        """Register on the innermost optimizer; runs once a step, also in a skipped one."""
        return self.inner.register_step_pre_hook(hook)

    def register_step_post_hook(self, hook: Any) -> RemovableHandle:
        """Register on the innermost optimizer; runs once a step that was taken."""
        return self.inner.register_step_post_hook(hook)

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Register on the innermost optimizer."""
        return self.inner.register_state_dict_pre_hook(hook, prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Register on the innermost optimizer, whose part of the state dict the hook sees."""
        return self.inner.register_state_dict_post_hook(hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Any, prepend: bool = False
    ) -> RemovableHandle:
        """Register on the innermost optimizer, whose part of the state dict the hook sees."""
        return self.inner.register_load_state_dict_pre_hook(hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Any, prepend: bool = False
    ) -> RemovableHandle:
        """Register on the innermost optimizer."""
        return self.inner.register_load_state_dict_post_hook(hook, prepend)

    # ---- State ----------------------------------------------------------------------------------

    def _state_name(self) -> str:
        """Return the class's name; `Name#2` for the second of the same class, further out."""
        count, inner = 1, self.inner
        while isinstance(inner, OptimizerWrapper):
            count += type(inner) is type(self)
            inner = inner.inner
        return type(self).__name__ if count == 1 else f"{type(self).__name__}#{count}"

    def state_dict(self) -> dict[str, Any]:
        """Return the innermost optimizer's state dict, and the levels' states under `"gradreg"`."""
        inner, own = self.inner.state_dict(), self.get_extra_state()
        return join(inner, self._state_name(), own, self.parameters)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a wrapper's or a bare optimizer's state dict; the latter doesn't change the levels.

        Levels are matched by class, so a state saved in one nesting loads into another.

        Raises:
            ValueError: a state of a newer format, or of parameters of other shapes. Then nothing
                is loaded.
        """
        rest, levels, own = split(state_dict, self._state_name(), self.parameters)
        if isinstance(self.inner, OptimizerWrapper):
            rest[STATE_KEY] = levels
        elif levels:
            warnings.warn(
                f"the state dict holds the state of {', '.join(levels)}, which this chain of "
                "wrappers lacks: it is dropped",
                stacklevel=2,
            )
        self.inner.load_state_dict(rest)
        if own is not None:
            self.set_extra_state(own)

    def __getstate__(self) -> dict[str, Any]:
        # As torch's optimizers, without hooks and without the `step` that a scheduler replaced.
        return {
            key: value
            for key, value in self.__dict__.items()
            if key not in {"step", "_zero_grad_profile_name", "_step_in_progress"}
            and not key.startswith("_optimizer_")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():  # `inner` first; `state` and the like by their setters
            setattr(self, key, value)
        self._step_in_progress = False
        Optimizer.__setstate__(self, {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"
