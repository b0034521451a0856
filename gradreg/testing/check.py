"""Checks of a wrapper against the contract and the laws, and their report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from gradreg.testing.contract import CONTRACT
from gradreg.testing.laws import LAWS
from gradreg.testing.subject import (
    Build,
    Iteration,
    Loss,
    NotOfferedError,
    Subject,
    mean_square,
    step_with_closure,
)


def _sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def _adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def _adamw(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "SGD": _sgd,
    "Adam": _adam,
    "AdamW": _adamw,
}
"""The optimizers that are wrapped by default."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one point with one optimizer.

    Args:
        point: its name.
        optimizer: name of the optimizer that was wrapped.
        result: whether the wrapper passes, fails, or doesn't offer the feature.
        reason: why it doesn't pass.
    """

    point: str
    optimizer: str
    result: Literal["pass", "fail", "not offered"]
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """The outcomes of all points.

    Args:
        outcomes: one for each point and optimizer.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes that failed."""
        return tuple(o for o in self.outcomes if o.result == "fail")

    @property
    def not_offered(self) -> tuple[Outcome, ...]:
        """The outcomes that the wrapper doesn't offer."""
        return tuple(o for o in self.outcomes if o.result == "not offered")

    def by_point(self) -> dict[str, Outcome]:
        """Return, for each point, the worst outcome over the optimizers."""
        order = ("pass", "not offered", "fail")
        worst: dict[str, Outcome] = {}
        for outcome in self.outcomes:
            other = worst.get(outcome.point)
            if other is None or order.index(outcome.result) > order.index(other.result):
                worst[outcome.point] = outcome
        return worst

    def __str__(self) -> str:
        passed = sum(o.result == "pass" for o in self.outcomes)
        lines = [f"{passed} of {len(self.outcomes)} passed"]
        lines += [
            f"  {o.result}: {o.point} ({o.optimizer}): {o.reason}"
            for o in self.outcomes
            if o.result != "pass"
        ]
        return "\n".join(lines)


def inspect_wrapper(
    build: Build,
    optimizers: Mapping[str, Callable[[Iterable[nn.Parameter]], Optimizer]] | None = None,
    *,
    points: Mapping[str, Callable[[Subject], None]] | None = None,
    neutral: Build | None = None,
    loss: Loss = mean_square,
    step: Callable[[Any, Iteration], Any] = step_with_closure,
    clean: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
) -> Report:
    """Check a wrapper on every point, and return the report without raising an error.

    Arguments as in `check_wrapper`; `points` is `CONTRACT` unless given.

    Example:
        >>> import gradreg
        >>> from gradreg.testing import inspect_wrapper
        >>> report = inspect_wrapper(lambda opt, model: gradreg.PerturbationSmoother(opt))
        >>> sorted({outcome.result for outcome in report.by_point().values()})
        ['pass']
    """
    outcomes = []
    for name, optimizer in (OPTIMIZERS if optimizers is None else optimizers).items():
        subject = Subject(build, optimizer, neutral, loss, step, clean)
        for point, check in (CONTRACT if points is None else points).items():
            outcomes.append(_run(point, name, check, subject))
    return Report(tuple(outcomes))


def check_wrapper(
    build: Build,
    optimizers: Mapping[str, Callable[[Iterable[nn.Parameter]], Optimizer]] | None = None,
    *,
    neutral: Build | None = None,
    loss: Loss = mean_square,
    step: Callable[[Any, Iteration], Any] = step_with_closure,
    clean: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
    without: Collection[str] = (),
) -> Report:
    """Check an optimizer wrapper against the contract and the laws.

    The sixteen points of `gradreg.testing.CONTRACT` are what any training loop may do with an
    optimizer. The laws of `gradreg.testing.LAWS` are further properties of a wrapper of an
    optimizer *instance*. A small network is trained on the CPU, in a few seconds. Torch's random
    state is restored afterwards.

    Args:
        build: `build(optimizer, model)` returns the wrapper.
        optimizers: functions from parameters to the optimizer to wrap, by name; SGD with momentum,
            Adam and AdamW if None.
        neutral: `build` with settings in which the wrapper should change nothing; without it the
            law of transparency isn't checked.
        loss: `loss(wrapper, model, inputs, targets)`, if the wrapper takes part in the forward
            pass.
        step: `step(wrapper, closure)` performs one step, if that isn't `wrapper.step(closure)`.
        clean: `clean(wrapper)` is the context in which the model holds the weights to evaluate,
            if it doesn't always hold them.
        without: names of points and laws to leave out.

    Returns:
        The report, if nothing failed.

    Raises:
        AssertionError: lists every point that failed or isn't offered, each with its reason.
        ValueError: a name in `without` is neither a point nor a law.

    Example:
        >>> import gradreg
        >>> from gradreg.testing import check_wrapper
        >>> report = check_wrapper(
        ...     lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.1),
        ...     neutral=lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.0),
        ...     clean=lambda wrapper: wrapper.unperturbed(),
        ... )
        >>> str(report)
        '66 of 66 passed'
    """
    checks = {**CONTRACT, **LAWS}
    unknown = sorted(set(without) - set(checks))
    if unknown:
        raise ValueError(
            f"without names {', '.join(map(repr, unknown))}: expected some of "
            f"{', '.join(map(repr, checks))}"
        )
    left_out = {*without} if neutral is not None else {*without, "transparency"}
    report = inspect_wrapper(
        build,
        optimizers,
        points={name: check for name, check in checks.items() if name not in left_out},
        neutral=neutral,
        loss=loss,
        step=step,
        clean=clean,
    )
    if report.failed or report.not_offered:
        raise AssertionError(str(report))
    return report


def _run(point: str, optimizer: str, check: Callable[[Subject], None], subject: Subject) -> Outcome:
    with torch.random.fork_rng([]), torch.enable_grad():
        try:
            check(subject)
        except NotOfferedError as error:
            return Outcome(point, optimizer, "not offered", str(error))
        except AssertionError as error:
            return Outcome(point, optimizer, "fail", str(error))
        except Exception as error:  # noqa: BLE001  # the wrapper may raise anything
            text = str(error).strip().split("\n", maxsplit=1)[0][:160]
            return Outcome(point, optimizer, "fail", f"{type(error).__name__}: {text}")
    return Outcome(point, optimizer, "pass")
