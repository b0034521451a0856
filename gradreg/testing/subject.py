"""A wrapper under test, and a small problem to train on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Build = Callable[[Optimizer, nn.Module], Any]
"""A function from the optimizer to wrap and the model that it trains to the wrapper."""

Loss = Callable[[Any, nn.Module, Tensor, Tensor], Tensor]
"""A function from wrapper, model, inputs and targets to the loss."""


class NotOfferedError(Exception):
    """A feature that the wrapper doesn't offer."""


class Network(nn.Module):
    """A network of two layers and a parameter that may be added later: (batch, 3) to (batch, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)
        self.extension: nn.Parameter | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predictions."""
        out: Tensor = self.head(torch.tanh(self.hidden(inputs)))
        return out if self.extension is None else out + self.extension


def mean_square(wrapper: Any, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error."""
    loss: Tensor = (model(inputs) - targets).square().mean()
    return loss


def step_with_closure(wrapper: Any, iteration: Iteration) -> Any:
    """Perform a step by torch's interface."""
    return wrapper.step(iteration)


@dataclass
class Iteration:
    """A closure over one batch that zeroes, runs forward and backward, and returns the loss.

    Args:
        wrapper: the wrapper under test.
        model: the model that it trains.
        inputs: (batch, 3).
        targets: (batch, 2).
        loss: see `Loss`.
        backward: whether there is a backward pass; without one all gradients are None.
        scaler: scales the loss before the backward pass.
        factor: of the loss in the backward pass; infinite for an overflow.
        fails_at: number of the call, from 1, that raises an error instead.
    """

    wrapper: Any
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: Loss
    backward: bool = True
    scaler: torch.amp.GradScaler | None = None
    factor: float = 1.0
    fails_at: int | None = None
    calls: int = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        self.wrapper.zero_grad()
        if self.calls == self.fails_at:
            raise ArithmeticError("raised on purpose")
        loss = self.loss(self.wrapper, self.model, self.inputs, self.targets)
        if self.backward:
            total = loss * self.factor
            (total if self.scaler is None else self.scaler.scale(total)).backward()
        return loss


@dataclass(frozen=True)
class Subject:
    """A wrapper under test, around one type of optimizer.

    Args:
        build: returns the wrapper.
        optimizer: returns the optimizer to wrap, from parameters.
        neutral: returns the wrapper with settings in which it should change nothing; or None.
        loss: the loss inside the closure.
        step: performs one step as in the wrapper's documentation.
        clean: context in which the model holds the weights to evaluate and save.
    """

    build: Build
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    neutral: Build | None = None
    loss: Loss = mean_square
    step: Callable[[Any, Iteration], Any] = step_with_closure
    clean: Callable[[Any], AbstractContextManager[Any]] = nullcontext

    def fresh(
        self, seed: int = 0, prepare: Callable[[Network], Any] | None = None
    ) -> tuple[Network, Any]:
        """Return a new model and its wrapper."""
        model = self.model(seed)
        if prepare is not None:
            prepare(model)
        return model, self.build(self.optimizer(model.parameters()), model)

    @staticmethod
    def model(seed: int = 0) -> Network:
        """Return a new model."""
        torch.manual_seed(seed)
        return Network()

    def iteration(self, model: nn.Module, wrapper: Any, number: int, **changes: Any) -> Iteration:
        """Seed torch's generators with the batch's number and return its closure."""
        generator = torch.Generator().manual_seed(1000 + number)
        inputs = torch.randn(8, 3, generator=generator)
        targets = torch.randn(8, 2, generator=generator)
        torch.manual_seed(number)
        return Iteration(wrapper, model, inputs, targets, self.loss, **changes)

    def train(self, model: nn.Module, wrapper: Any, numbers: Iterable[int]) -> list[Any]:
        """Perform a step on each batch; return the steps' results."""
        return [self.step(wrapper, self.iteration(model, wrapper, number)) for number in numbers]

    def weights(self, model: nn.Module, wrapper: Any) -> list[Tensor]:
        """Return a copy of the clean parameters."""
        with self.clean(wrapper):
            return [p.detach().clone() for p in model.parameters()]

    def needs_closure(self) -> bool:
        """Return whether `step()` without a closure raises an error."""
        model, wrapper = self.fresh()
        self.iteration(model, wrapper, 0)()
        try:
            wrapper.step()
        except Exception:  # noqa: BLE001  # the wrapper may raise anything
            return True
        return False

    def scaled_step(
        self,
        model: nn.Module,
        wrapper: Any,
        number: int,
        scaler: Any,
        *,
        factor: float = 1.0,
        own: bool = False,
    ) -> None:
        """Perform one step under a GradScaler, by its `step` or by the wrapper's argument.

        The scaler's `step` is preferred if `own` is False and the wrapper needs no closure.
        """
        takes_scaler = "scaler" in inspect.signature(wrapper.step).parameters
        needs_closure = self.needs_closure()
        iteration = self.iteration(model, wrapper, number, scaler=scaler, factor=factor)
        if takes_scaler and (own or needs_closure):
            wrapper.step(iteration, scaler=scaler)
        elif not needs_closure:
            iteration()
            scaler.step(wrapper)
        else:
            raise NotOfferedError("step needs a closure, which GradScaler refuses")
        scaler.update()


def method(wrapper: Any, name: str) -> Any:
    """Return a method of the wrapper.

    Raises:
        NotOfferedError: it has no method of that name.
    """
    if not hasattr(type(wrapper), name) and not hasattr(wrapper, name):
        raise NotOfferedError(f"has no {name}")
    return getattr(wrapper, name)


def require(condition: bool, otherwise: str) -> None:
    """Raise an AssertionError unless the condition holds (also under `python -O`)."""
    if not condition:
        raise AssertionError(otherwise)


def equal(a: Iterable[Any], b: Iterable[Any]) -> bool:
    """Return whether two lists hold the same tensors, bit by bit."""
    a, b = list(a), list(b)
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
