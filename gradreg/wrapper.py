"""One optimizer around another: all the delegation there is, written once.

A level (mask, smoother, projector) subclasses `OptimizerWrapper` and overrides a few of the
hooks under "What a level overrides". It never overrides `step`. A step goes like this:

    outermost.step(closure) -> ... -> innermost.step -> base.step(one `_Step` object)
        the base optimizer calls that object as its closure, and there
            1. `evaluate`       each level, innermost around outermost, around the caller's closure
            2. `accept`         each level may decline: the base optimizer then does nothing
            3. `before_update`  parameters are clean, the gradient is final
        the base optimizer updates
        4. `after_update`       innermost first, before the step post-hooks see the weights
    5. `end_step`               always: after a step, a skip or an exception

Because perturbations live wholly inside 1 and skips are decided in 2, what 3 and 4 see are clean
weights just before and after the base update, whatever the nesting.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

STATE_KEY = "gradreg"
"""The one top-level key that the wrappers add to a state dict."""

FORMAT_VERSION = 1
"""Of what is under that key; a state without a number is of the first format."""

Closure = Callable[[], Any]
Prior = Callable[[Tensor], Tensor]


def _by_index(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Undo what distributed checkpointing does to an optimizer's state.

    It loads tensors in place under the parameter's index, other values under that as a string.
    """
    merged: dict[Any, Any] = {}
    for key, value in state.items():
        index = int(key) if isinstance(key, str) and key.isdigit() else key
        merged[index] = {**merged.get(index, {}), **value} if isinstance(value, dict) else value
    return merged


def _shapes(parameters: list[Tensor]) -> list[list[int]]:
    return [[] if is_lazy(p) else list(p.shape) for p in parameters]


def _check_format(version: Any) -> None:
    if version != FORMAT_VERSION:
        raise ValueError(
            f"the state dict's {STATE_KEY!r} entry is of format {version!r}, expected "
            f"{FORMAT_VERSION}: load it with the version of gradreg that saved it"
        )


def _check_shapes(saved: list[list[int]] | None, parameters: list[Tensor]) -> None:
    """Compare those of parameters in the same place; a wrong number of them torch reports."""
    for i, (before, now) in enumerate(zip(saved or [], _shapes(parameters), strict=False)):
        if list(before) != now:
            raise ValueError(
                f"the state dict was saved for another model: its parameter {i} has shape "
                f"{tuple(before)}, the optimizer's {tuple(now)}: build model and param groups as "
                "they were when it was saved"
            )


class _SkippedError(Exception):
    """Raised inside the closure that the base optimizer calls; caught by the outermost step."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss


class _Step:
    """One step in progress; the base optimizer calls it as its closure."""

    def __init__(self, owner: OptimizerWrapper, closure: Closure | None, scaler: Any) -> None:
        self.owner, self.closure, self.scaler = owner, closure, scaler
        self.levels: list[OptimizerWrapper] = []  # outermost first
        self.begun = self.finished = False

    def __call__(self) -> Any:
        with torch.enable_grad():
            loss = self._evaluate()
        if not self.begun:  # LBFGS calls its closure many times; the first call decides
            # A list, not a generator: every level is asked, since each keeps its own record.
            if not all([self._finite(), *[level.accept() for level in self.levels]]):
                raise _SkippedError(loss)
            self.begun = True
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
        """Let every level see the update; as a step post-hook it takes a hook's arguments."""
        if self.begun and not self.finished:
            self.finished = True
            with torch.no_grad():
                for level in reversed(self.levels):
                    level.after_update()

    @torch.no_grad()
    def end(self) -> None:
        """Let every level tidy up, even if one of them can't."""
        with ExitStack() as stack:
            for level in self.levels:
                level._step_in_progress = False
                stack.callback(level.end_step)  # the last one first

    def _finite(self) -> bool:
        if self.scaler is None or not self.scaler.is_enabled():
            return True
        self.scaler.unscale_(self.owner)
        found = self.scaler._found_inf_per_device(self.owner)
        return not any(value.item() for value in found.values())


class OptimizerWrapper(Optimizer):
    """Base class of the three levels: an optimizer that holds another one.

    It is an `Optimizer` to everyone who tests for that. `param_groups`, `state`, `defaults`, hooks
    and `zero_grad` are those of the innermost optimizer; `state_dict` is that optimizer's, with
    what the wrappers know under one more key, `"gradreg"`. So a bare optimizer's state dict loads
    into a wrapper, and a wrapper's into a bare optimizer.

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
        # Lightning hands out stand-ins, of a class made from ours, that only read from the real
        # one: what a method called on a stand-in writes belongs to the real one as well.
        own = self.__dict__
        real = None if "inner" in own or name in own else own.get("_optimizer")
        if real is None:
            super().__setattr__(name, value)
        else:
            setattr(real, name, value)

    # ---- What a level overrides -------------------------------------------------------------

    def evaluate(self, closure: Closure) -> Any:
        """Compute the gradient for the base update: leave it in `.grad`, return the loss."""
        return closure()

    def begin_pass(self) -> None:
        """Run before each call of the caller's closure: once a pass, whatever the nesting."""

    def gradient_given(self) -> None:
        """Take the place of `evaluate` in `step()` without a closure: `.grad` is there already."""

    def accept(self) -> bool:
        """Say whether the base optimizer may use the gradient; False skips the whole step."""
        return True

    def before_update(self) -> None:
        """Run under `no_grad` with clean parameters, just before the base optimizer updates."""

    def after_update(self) -> None:
        """Run under `no_grad` just after the base optimizer has updated."""

    def end_step(self) -> None:
        """Run at the end of every step: taken, skipped or broken off by an exception."""

    def get_extra_state(self) -> dict[str, Any]:
        """Return this level's state: tensors and primitives only, parameters by index.

        Keys are strings, or distributed checkpointing loses what belongs to them.
        """
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""

    def detach(self) -> None:
        """Leave the model as if this level had never been there (for `unwrap`)."""

    # ---- The chain ----------------------------------------------------------------------------

    @property
    def base(self) -> Optimizer:
        """The innermost optimizer, which is no wrapper."""
        return self.inner.base if isinstance(self.inner, OptimizerWrapper) else self.inner

    def unwrap(self) -> Optimizer:
        """Take every level off the model and return the bare optimizer."""
        self.detach()
        return self.inner.unwrap() if isinstance(self.inner, OptimizerWrapper) else self.inner

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of `param_groups`: the order of the state's indices."""
        return [p for group in self.param_groups for p in group["params"]]

    def __getattr__(self, name: str) -> Any:
        if name in ("last", "stats"):
            if isinstance(self.inner, OptimizerWrapper):
                return getattr(self.inner, name)
            raise AttributeError(
                f"{name} belongs to PostVerificationMask, and none is in this chain of wrappers"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _below(self, method: str, level: str) -> OptimizerWrapper:
        if isinstance(self.inner, OptimizerWrapper):
            return self.inner
        raise RuntimeError(
            f"{method}() belongs to {level}, and no {level} is in this chain of wrappers around "
            f"{type(self.inner).__name__}: add one, as in opt = gradreg.{level}(opt, ...)"
        )

    # Methods of one level, forwarded so that the outermost wrapper is all a caller holds.

    def verify(
        self, tensor: Tensor, evidence: Tensor | None = None, prior: Prior | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `PostVerificationMask.verify`."""
        return self._below("verify", "PostVerificationMask").verify(tensor, evidence, prior)

    def verify_input(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """See `PostVerificationMask.verify_input`."""
        return self._below("verify_input", "PostVerificationMask").verify_input(batch)

    def observe_noise(self, mask: Tensor | None = None) -> AbstractContextManager[None]:
        """See `NullSpaceProjector.observe_noise`."""
        return self._below("observe_noise", "NullSpaceProjector").observe_noise(mask)

    def observe_signal(self, mask: Tensor | None = None) -> AbstractContextManager[None]:
        """See `NullSpaceProjector.observe_signal`."""
        return self._below("observe_signal", "NullSpaceProjector").observe_signal(mask)

    def basis(self, parameter: Tensor) -> Tensor:
        """See `NullSpaceProjector.basis`."""
        return self._below("basis", "NullSpaceProjector").basis(parameter)

    def protect(self, parameter: Tensor, features: Tensor, dim: int = -1) -> None:
        """See `NullSpaceProjector.protect`."""
        self._below("protect", "NullSpaceProjector").protect(parameter, features, dim)

    def clear(self) -> None:
        """See `NullSpaceProjector.clear`; acts on the clean weights."""
        level = self._below("clear", "NullSpaceProjector")
        with self.unperturbed():
            level.clear()

    # Trainers call these on any optimizer that has them, so without a smoother they do nothing.

    def eval(self) -> None:
        """Make the weights those to evaluate and save; see `OnePassSmoother.eval`."""
        if hasattr(self.inner, "eval"):  # a wrapper, or a schedule-free optimizer
            self.inner.eval()

    def train(self) -> None:
        """Make the weights those to train on; see `OnePassSmoother.train`."""
        if hasattr(self.inner, "train"):
            self.inner.train()

    def unperturbed(self) -> AbstractContextManager[None]:
        """Give the clean weights inside the context; see `OnePassSmoother.unperturbed`."""
        if isinstance(self.inner, OptimizerWrapper):
            return self.inner.unperturbed()
        return nullcontext()

    # ---- The step -----------------------------------------------------------------------------

    @_disable_dynamo  # compiled, the parts between its many graph breaks lost side effects
    def step(self, closure: Closure | None = None, *, scaler: Any = None) -> Any:
        """Make one step, or none if a level declines.

        Args:
            closure: zeroes the gradient, runs forward and backward, returns the loss. Without it
                the gradient is taken as it stands in `.grad`.
            scaler: the `torch.amp.GradScaler` that scaled the loss inside `closure` (its own
                `step` takes no closures). The gradient is unscaled once, and the step skipped if
                any of it isn't finite; call `scaler.update()` afterwards as ever.

        Returns:
            What the base optimizer's `step` returns: the loss of the (first) closure call.

        Raises:
            ValueError: a scaler without a closure.
            RuntimeError: called inside a step, or the base optimizer never called its closure.
        """
        if self._step_in_progress:
            raise RuntimeError(
                f"step() was called inside a step of the same {type(self).__name__}, from its "
                "closure or one of its hooks: make one step after the other"
            )
        if isinstance(closure, _Step):  # an outer wrapper's step, passing through
            return self._pass_on(closure)
        if scaler is not None and closure is None:
            raise ValueError(
                "step(scaler=...) expects a closure, found none: without one, use scaler.step(opt)"
            )
        step = _Step(self, closure, scaler)
        with ExitStack() as stack:
            stack.callback(step.end)
            self._finish_before_post_hooks(step, stack)
            try:
                loss = self._pass_on(step)
            except _SkippedError as skipped:
                return skipped.loss
            if not step.begun:
                raise RuntimeError(
                    f"{type(self.base).__name__}.step() returned without calling its closure, so "
                    "that no wrapper saw the gradient. If a step pre-hook replaced the closure, "
                    "remove it; if the optimizer decides for itself when to step, as Accelerate's "
                    "does, wrap the bare optimizer and have the wrapper prepared"
                )
            step.finish()
            return loss

    step.hooked = True  # type: ignore[attr-defined]  # the base optimizer's step runs the hooks

    def _pass_on(self, step: _Step) -> Any:
        step.levels.append(self)
        self._step_in_progress = True
        return self.inner.step(step)  # by attribute: schedulers replace it on the instance

    def _finish_before_post_hooks(self, step: _Step, stack: ExitStack) -> None:
        """Have the levels see the update before any step post-hook does, which may also raise."""
        hooks = getattr(self.base, "_optimizer_step_post_hooks", None)
        if hooks is not None:  # None: an optimizer of its own kind; it is finished on returning
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
        """Class name; a second one of the same class further out is `Name#2`."""
        twins, inner = 1, self.inner
        while isinstance(inner, OptimizerWrapper):
            twins += type(inner) is type(self)
            inner = inner.inner
        return type(self).__name__ if twins == 1 else f"{type(self).__name__}#{twins}"

    def state_dict(self) -> dict[str, Any]:
        """Return the innermost optimizer's state dict and, under `"gradreg"`, the levels' own."""
        state = dict(self.inner.state_dict())
        common = {"version": FORMAT_VERSION, "shapes": _shapes(self.parameters)}
        known = state.get(STATE_KEY, common)
        state[STATE_KEY] = {**known, self._state_name(): self.get_extra_state()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a wrapper's or a bare optimizer's state dict; the latter leaves levels as they are.

        Levels are matched by class, so a state saved in one nesting loads into another.

        Raises:
            ValueError: a state of a newer format, or of parameters of other shapes; nothing is
                loaded then.
        """
        levels = dict(state_dict.get(STATE_KEY, {}))
        _check_format(levels.pop("version", 1))
        _check_shapes(levels.pop("shapes", None), self.parameters)
        own = levels.pop(self._state_name(), None)
        rest = {key: value for key, value in state_dict.items() if key != STATE_KEY}
        if isinstance(self.inner, OptimizerWrapper):
            rest[STATE_KEY] = levels
        elif levels:
            warnings.warn(
                f"the state dict holds the state of {', '.join(levels)}, which this chain of "
                "wrappers lacks: it is dropped",
                stacklevel=2,
            )
        rest["state"] = _by_index(rest["state"])
        self.inner.load_state_dict(rest)
        if own is not None:
            self.set_extra_state(own)

    def __getstate__(self) -> dict[str, Any]:
        # As torch's optimizers do, leave behind hooks and the `step` that a scheduler replaced.
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
