"""torch's own optimizer database: every configuration, bare and wrapped.

Checks, of each optimizer in `torch.testing._internal.common_optimizers.optim_db`:

- steps: six, every second with a closure, give the same weights and losses, bit by bit; of a
  differentiable optimizer, one step has the same derivatives;
- resume: training continues identically from a state dict that went through a file, read with
  `weights_only=True`: into the same kind of optimizer, from wrapped to bare, from bare to wrapped;
- errors: bad arguments raise the same error, word for word.
"""

import copy
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.suites.comparison import Comparison, Outcome, compare
from benchmarks.suites.neutral import NEUTRAL
from benchmarks.suites.sources import UnavailableError

DEVICE = "cpu"
STEPS = 6

Wrap = Callable[[Optimizer], Optimizer]
Check = Callable[[Wrap], list[Any]]
"""From the function that wraps an optimizer to everything that is compared."""


def bare(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer itself."""
    return optimizer


def compare_all(
    wrappers: Iterable[str], optimizers: Iterable[str] | None = None
) -> list[Comparison]:
    """Run all checks bare and with each wrapper.

    Args:
        wrappers: names in `NEUTRAL`.
        optimizers: names of torch's classes; all of the database if None.

    Raises:
        UnavailableError: this torch can't import its database.
    """
    expected: dict[str, list[Any] | Exception] = {}
    for name, check in checks(optimizers):
        try:
            expected[name] = check(bare)
        except Exception as error:  # noqa: BLE001  # an optimizer may raise anything
            expected[name] = error
    comparisons = []
    for wrapper in wrappers:
        outcomes = {
            name: _outcome(check, NEUTRAL[wrapper], expected[name])
            for name, check in checks(optimizers)
        }
        comparisons.append(
            compare(
                "torch",
                f"torch {torch.__version__.partition('+')[0]} optim_db",
                wrapper,
                {name: _bare_outcome(value) for name, value in expected.items()},
                outcomes,
            )
        )
    return comparisons


def _bare_outcome(value: list[Any] | Exception) -> Outcome:
    if isinstance(value, Exception):
        return Outcome("failed", f"{type(value).__name__}: {value}")
    return Outcome("passed")


def _outcome(check: Check, wrap: Wrap, expected: list[Any] | Exception) -> Outcome:
    wrapped = 0

    def count(optimizer: Optimizer) -> Optimizer:
        nonlocal wrapped
        wrapped += 1
        return wrap(optimizer)

    try:
        found = check(count)
    except Exception as error:  # noqa: BLE001  # a wrapper may raise anything
        return Outcome("failed", f"{type(error).__name__}: {error}".split("\n")[0], wrapped)
    if isinstance(expected, Exception) or not identical(found, expected):
        return Outcome("failed", _difference(found, expected), wrapped)
    return Outcome("passed", wrapped=wrapped)


def _difference(found: list[Any], expected: list[Any] | Exception) -> str:
    if found and isinstance(found[0], str):
        return f"found {found[0]!r}, expected {expected!r}"
    return "weights, losses or derivatives differ"


def identical(found: Any, expected: Any) -> bool:
    """Return whether nested lists of tensors and other values are equal, bit by bit."""
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(map(identical, found, expected))
        )
    if isinstance(expected, Tensor):
        return isinstance(found, Tensor) and torch.equal(found, expected)
    return bool(found == expected)


def checks(optimizers: Iterable[str] | None = None) -> Iterator[tuple[str, Check]]:
    """Yield all checks of the optimizers with their names."""
    names = None if optimizers is None else set(optimizers)
    for info in _database():
        optimizer = info.optim_cls.__name__
        if names is not None and optimizer not in names:
            continue
        for i, kwargs in enumerate(_configurations(info)):
            label = f"{optimizer}[{i}: {_described(kwargs)}]"
            if kwargs.get("differentiable"):  # trains no leaves, bare alike
                yield f"{label} steps", _of(_derivatives, info, kwargs)
            else:
                yield f"{label} steps", _of(_trajectory, info, kwargs)
                yield f"{label} resume", _of(_resumed, info, kwargs)
        for i, error_input in enumerate(info.optim_error_inputs_func(DEVICE, torch.float32)):
            description = error_input.optimizer_error_input.desc
            yield f"{optimizer}[{i}: {description}] errors", _of(_error, info, error_input)


def _of(check: Callable[[Any, Any, Wrap], list[Any]], info: Any, settings: Any) -> Check:
    return lambda wrap: check(info, settings, wrap)


def _database() -> list[Any]:
    try:
        from torch.testing._internal.common_optimizers import optim_db  # noqa: PLC0415  # may lack
    except ImportError as error:
        raise UnavailableError(
            f"torch {torch.__version__} can't import its optimizer database: {error}; the `test` "
            "extra has what it needs"
        ) from error
    return list(optim_db)


def _configurations(info: Any) -> list[dict[str, Any]]:
    """Return all of them, with foreach, fused and differentiable."""
    from torch.testing._internal.common_optimizers import (  # noqa: PLC0415  # as above
        _get_optim_inputs_including_global_cliquey_kwargs,
    )

    inputs = _get_optim_inputs_including_global_cliquey_kwargs(DEVICE, torch.float32, info)
    found = [config.kwargs for config in inputs]
    if "foreach" in info.supported_impls:  # torch lists it for CUDA alone
        found += [{**config.kwargs, "foreach": True} for config in info.optim_inputs_func(DEVICE)]
    return found


def _described(kwargs: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in kwargs.items()) or "defaults"


def _start(info: Any) -> list[Tensor]:
    """Return the initial weights: (4, 3) and, unless only matrices are taken, (3,)."""
    generator = torch.Generator().manual_seed(0)
    second = (2, 3) if info.optim_cls is torch.optim.Muon else (3,)
    return [torch.randn(shape, generator=generator) for shape in ((4, 3), second)]


def _make(info: Any, kwargs: dict[str, Any], wrap: Wrap) -> tuple[list[Tensor], Any]:
    params: list[Tensor] = [nn.Parameter(value) for value in _start(info)]
    return params, wrap(info.optim_cls(params, **copy.deepcopy(kwargs)))  # a tensor as lr is kept


def _closure(info: Any, params: list[Tensor], optimizer: Any) -> Callable[[], Tensor]:
    x = torch.linspace(-1, 1, 20).reshape(5, 4)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (x @ params[0]).sin().sum() + (params[1] - 1).sin().sum()  # bounded
        loss.backward()
        if info.only_supports_sparse_grads:
            for p in params:
                if p.grad is not None:
                    p.grad = p.grad.to_sparse()
        return loss.detach()

    return closure


def _train(info: Any, params: list[Tensor], optimizer: Any, steps: range) -> list[Any]:
    """Train; every second step has no closure, if the optimizer allows it; return the losses."""
    closure = _closure(info, params, optimizer)
    losses = []
    for step in steps:
        if info.step_requires_closure or step % 2:
            losses.append(optimizer.step(closure))
        else:
            closure()
            losses.append(optimizer.step())
    return losses


def _trajectory(info: Any, kwargs: dict[str, Any], wrap: Wrap) -> list[Any]:
    params, optimizer = _make(info, kwargs, wrap)
    losses = _train(info, params, optimizer, range(STEPS))
    return [*losses, *(p.detach() for p in params)]


def _resumed(info: Any, kwargs: dict[str, Any], wrap: Wrap) -> list[Any]:
    results = []
    for before, after in ((wrap, wrap), (wrap, bare), (bare, wrap)):
        params, optimizer = _make(info, kwargs, before)
        _train(info, params, optimizer, range(STEPS // 2))
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        others, resumed = _make(info, kwargs, after)
        with torch.no_grad():
            for other, p in zip(others, params, strict=True):
                other.copy_(p)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        losses = _train(info, others, resumed, range(STEPS // 2, STEPS))
        results.append([*losses, *(p.detach() for p in others)])
    return results


def _derivatives(info: Any, kwargs: dict[str, Any], wrap: Wrap) -> list[Any]:
    """Differentiate one step by the start and the gradients.

    One, since the second overwrites moments that the first one's derivative needs, bare as well.
    """
    start = [value.double().requires_grad_() for value in _start(info)]
    gradients = [(0.3 * value.detach().cos() + 0.1).requires_grad_() for value in start]
    params = [value.clone() for value in start]
    optimizer = wrap(info.optim_cls(params, **copy.deepcopy(kwargs)))
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient
    optimizer.step()
    out = torch.stack([p.square().sum() for p in params]).sum()
    found = torch.autograd.grad(out, [*start, *gradients], allow_unused=True)
    return [*(p.detach() for p in params), *found]


def _error(info: Any, error_input: Any, wrap: Wrap) -> list[Any]:
    """Return the error, or the warning where torch expects one, as text.

    Raises:
        AssertionError: there is none, or not the one that torch expects.
    """
    expected: type[Exception] = error_input.error_type
    settings = error_input.optimizer_error_input
    params = settings.params
    if params is None:
        params = [nn.Parameter(value) for value in _start(info)]
    try:
        with warnings.catch_warnings():
            if issubclass(expected, Warning):
                warnings.simplefilter("error", expected)
            wrap(info.optim_cls(params, **copy.deepcopy(settings.kwargs))).step()
    except Exception as error:  # compared below
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, expected) and re.search(error_input.error_regex, text):
            return [text]
        raise AssertionError(f"raises {text}, expected {error_input.error_regex}") from error
    raise AssertionError(f"raises no error, expected {error_input.error_regex}")
