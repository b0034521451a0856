"""One optimizer around another: all the delegation there is, written once.

A level (mask, smoother, projector) subclasses `OptimizerWrapper` and overrides a few of the
hooks under "What a level overrides". It never overrides `step`. A step goes like this:

    outermost.step(closure) -> ... -> innermost.step -> base.step(one `_Step` object)
        the base optimizer calls that object as its closure, and there
            1. `evaluate`       each level, innermost around outermost, around the caller's closure
            2. `accept`         each level may decline: the base optimizer then does nothing
            3. `before_update`  parameters are clean, the gradient is final
        the base optimizer updates
        4. `after_update`       innermost first
    5. `end_step`               always: after a step, a skip or an exception

Because perturbations live wholly inside 1 and skips are decided in 2, what 3 and 4 see are clean
weights just before and after the base update, whatever the nesting.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

STATE_KEY = "gradreg"
"""The one top-level key that the wrappers add to a state dict."""

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
        self.begun = False

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
        closure = self.closure
        for level in self.levels:
            closure = partial(level.evaluate, closure)
        return closure()

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
        Optimizer.__setstate__(self, {})  # not __init__: the parameters are the inner one's

    # ---- What a level overrides -------------------------------------------------------------

    def evaluate(self, closure: Closure) -> Any:
        """Compute the gradient for the base update: leave it in `.grad`, return the loss."""
        return closure()

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

    def protect(self, parameter: Tensor, features: Tensor, dim: int = -1) -> None:
        """See `NullSpaceProjector.protect`."""
        self._below("protect", "NullSpaceProjector").protect(parameter, features, dim)

    def eval(self) -> None:
        """See `OnePassSmoother.eval`."""
        self._below("eval", "OnePassSmoother").eval()

    def train(self) -> None:
        """See `OnePassSmoother.train`."""
        self._below("train", "OnePassSmoother").train()

    def unperturbed(self) -> AbstractContextManager[None]:
        """See `OnePassSmoother.unperturbed`."""
        return self._below("unperturbed", "OnePassSmoother").unperturbed()

    # ---- The step -----------------------------------------------------------------------------

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
        """
        if isinstance(closure, _Step):  # an outer wrapper's step, passing through
            return self._pass_on(closure)
        if scaler is not None and closure is None:
            raise ValueError(
                "step(scaler=...) expects a closure, found none: without one, use scaler.step(opt)"
            )
        step = _Step(self, closure, scaler)
        try:
            return self._pass_on(step)
        except _SkippedError as skipped:
            return skipped.loss
        finally:
            with torch.no_grad():
                for level in reversed(step.levels):
                    level.end_step()

    step.hooked = True  # type: ignore[attr-defined]  # the base optimizer's step runs the hooks

    def _pass_on(self, step: _Step) -> Any:
        step.levels.append(self)
        loss = self.inner.step(step)  # by attribute: schedulers replace it on the instance
        if step.begun:
            with torch.no_grad():
                self.after_update()
        return loss

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
        state[STATE_KEY] = {**state.get(STATE_KEY, {}), self._state_name(): self.get_extra_state()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a wrapper's or a bare optimizer's state dict; the latter leaves levels as they are.

        Levels are matched by class, so a state saved in one nesting loads into another.
        """
        levels = dict(state_dict.get(STATE_KEY, {}))
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
            if key not in {"step", "_zero_grad_profile_name"} and not key.startswith("_optimizer_")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():  # `inner` first; `state` and the like by their setters
            setattr(self, key, value)
        Optimizer.__setstate__(self, {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"
