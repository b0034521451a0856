"""Laws of this library that can be checked on any wrapper around an optimizer instance.

Each is a function of a `Subject`, like the points of the contract.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gradreg.testing.subject import NotOfferedError, Subject, equal, require


def transparency(subject: Subject) -> None:
    """Check that in neutral settings the trajectory is the bare optimizer's, bit by bit."""
    if subject.neutral is None:
        raise NotOfferedError("no neutral settings were given")
    bare, results = Subject(subject.build, subject.optimizer), []
    for wrapped in (False, True):
        model = subject.model()
        base = subject.optimizer(model.parameters())
        used: Any = subject.neutral(base, model) if wrapped else base
        trained = subject if wrapped else bare
        schedule = LambdaLR(used, lambda epoch: 0.8**epoch)
        for number in range(6):
            trained.train(model, used, [number])
            schedule.step()
        results.append((trained.weights(model, used), _values(base.state_dict()["state"])))
    (weights, state), (other_weights, other_state) = results
    require(equal(weights, other_weights), "the parameters differ from the bare optimizer's")
    require(equal(state, other_state), "the state differs from the bare optimizer's")


def delegation(subject: Subject) -> None:
    """Check that groups, state, defaults and `zero_grad` are the wrapped optimizer's."""
    model = subject.model()
    base = subject.optimizer(model.parameters())
    wrapper = subject.build(base, model)
    require(isinstance(wrapper, Optimizer), "is no torch.optim.Optimizer")
    subject.train(model, wrapper, range(2))
    wrapper.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    for name in ("param_groups", "state", "defaults"):
        require(
            getattr(wrapper, name) is getattr(base, name), f"{name} isn't the wrapped optimizer's"
        )
    subject.iteration(model, wrapper, 2)()
    wrapper.zero_grad(set_to_none=False)
    require(
        all(p.grad is not None and not p.grad.any() for p in model.parameters()),
        "zero_grad(set_to_none=False) doesn't zero",
    )
    wrapper.zero_grad()
    require(all(p.grad is None for p in model.parameters()), "zero_grad() doesn't drop gradients")


def bare_state(subject: Subject) -> None:
    """Check that a bare optimizer's state dict loads into its wrapper, and vice versa."""
    model = subject.model()
    bare = subject.optimizer(model.parameters())
    Subject(subject.build, subject.optimizer).train(model, bare, range(3))
    wrapper = subject.build(subject.optimizer(model.parameters()), model)
    wrapper.load_state_dict(copy.deepcopy(bare.state_dict()))
    expected = _values(bare.state_dict()["state"])
    require(
        equal(expected, _values(wrapper.state_dict()["state"])),
        "the wrapper loses the optimizer's moments",
    )
    other = subject.optimizer(model.parameters())
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    require(
        equal(expected, _values(other.state_dict()["state"])),
        "the optimizer loses the wrapper's moments",
    )


def skips(subject: Subject) -> None:
    """Check that a step that overflows doesn't change moments and counters."""
    model, wrapper = subject.fresh()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for number in range(2):
        subject.scaled_step(model, wrapper, number, scaler, own=True)
    before = copy.deepcopy(_values(wrapper.state_dict()["state"]))
    subject.scaled_step(model, wrapper, 2, scaler, factor=float("inf"), own=True)
    require(
        equal(before, _values(wrapper.state_dict()["state"])), "a skipped step changes the state"
    )


def exceptions(subject: Subject) -> None:
    """Check that an exception in the first or second closure call changes no parameters."""
    for call in (1, 2):
        model, wrapper = subject.fresh()
        subject.train(model, wrapper, range(2))
        before = subject.weights(model, wrapper)
        iteration = subject.iteration(model, wrapper, 2, fails_at=call)
        try:
            subject.step(wrapper, iteration)
        except ArithmeticError:
            require(
                equal(before, subject.weights(model, wrapper)),
                f"an exception in closure call {call} changes parameters",
            )
        else:
            require(iteration.calls < call, f"the exception of closure call {call} is swallowed")
        subject.train(model, wrapper, [3])


def initialisation(subject: Subject) -> None:
    """Check that distributed checkpointing's first step (zero gradients, lr 0) moves nothing."""
    model, wrapper = subject.fresh()
    before = subject.weights(model, wrapper)
    rates = [group["lr"] for group in wrapper.param_groups]
    for group in wrapper.param_groups:
        group["lr"] = 0.0
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    wrapper.step(closure=None)
    for group, rate in zip(wrapper.param_groups, rates, strict=True):
        group["lr"] = rate
    require(equal(before, subject.weights(model, wrapper)), "parameters move")


def _values(state: Any) -> list[Tensor]:
    """Return the numbers in an optimizer's state, in order."""
    return [
        torch.as_tensor(values[name])
        for _, values in sorted(state.items())
        for name in sorted(values)
        if isinstance(values[name], (Tensor, int, float))
    ]


LAWS: dict[str, Callable[[Subject], None]] = {
    "transparency": transparency,
    "delegation": delegation,
    "a bare state loads": bare_state,
    "skips": skips,
    "exceptions": exceptions,
    "initialisation": initialisation,
}
"""The laws by name."""
