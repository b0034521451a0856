"""The contract: sixteen things that any training loop may do with an optimizer.

Each point is a function of a `Subject`. It returns if the wrapper passes, raises an AssertionError
(or the wrapper's own exception) if it fails, and a `NotOfferedError` if the wrapper doesn't offer
the feature.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gradreg.testing.subject import NotOfferedError, Subject, equal, method, require


def step(subject: Subject) -> None:
    """Check that ten steps on one batch lower its loss."""
    model, wrapper = subject.fresh()
    losses = []
    for number in (0, *[0] * 10, 0):
        with subject.clean(wrapper), torch.no_grad():
            probe = subject.iteration(model, wrapper, 0)
            losses.append((model(probe.inputs) - probe.targets).square().mean().item())
        subject.train(model, wrapper, [number])
    require(losses[-1] < losses[0], f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g}")


def returns_the_loss(subject: Subject) -> None:
    """Check that a step returns the closure's loss at the weights that the step started from."""
    model, wrapper = subject.fresh()
    for number in range(3):
        iteration = subject.iteration(model, wrapper, number)
        with torch.no_grad():
            expected = (model(iteration.inputs) - iteration.targets).square().mean()
        torch.manual_seed(number)
        returned = subject.step(wrapper, iteration)
        require(returned is not None, "step returns None")
        require(
            torch.allclose(torch.as_tensor(returned).detach(), expected),
            f"step returns {returned}, the loss was {expected}",
        )


def data_ptr_kept(subject: Subject) -> None:
    """Check that parameters stay the same tensors in the same memory."""
    model, wrapper = subject.fresh()
    before = [(id(p), p.data_ptr()) for p in model.parameters()]
    subject.train(model, wrapper, range(6))
    after = [(id(p), p.data_ptr()) for p in model.parameters()]
    require(before == after, "a step moves parameters to other memory")


def save_load_resume(subject: Subject) -> None:
    """Check that training resumes bit by bit from a file, read with `weights_only`, at any step."""
    for taken in (1, 3, 6):
        model, wrapper = subject.fresh()
        subject.train(model, wrapper, range(taken))
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "wrapper": wrapper.state_dict()}, file)
        file.seek(0)
        try:
            saved = torch.load(file, weights_only=True)
        except pickle.UnpicklingError as error:
            raise AssertionError(
                "the state dict can't be read with weights_only=True: it holds more than tensors "
                "and primitives"
            ) from error
        fresh, resumed = subject.fresh(seed=1)
        fresh.load_state_dict(saved["model"])
        resumed.load_state_dict(saved["wrapper"])
        later = range(taken, taken + 6)
        subject.train(model, wrapper, later)
        subject.train(fresh, resumed, later)
        require(
            equal(model.parameters(), fresh.parameters()),
            f"resumed after step {taken}, training differs",
        )


def scheduler(subject: Subject) -> None:
    """Check that a scheduler sets the inner learning rate, also after loading, without warnings."""
    model, wrapper = subject.fresh()
    if not isinstance(wrapper, Optimizer):
        raise NotOfferedError("is no torch.optim.Optimizer, so schedulers refuse it")
    rate = wrapper.param_groups[0]["lr"]
    with warnings.catch_warnings(record=True) as caught, _rates_of_steps() as rates:
        warnings.simplefilter("always")
        schedule = LambdaLR(wrapper, lambda epoch: 0.5**epoch)
        for number in range(4):
            when = ""
            if number >= 2:
                when = " after load_state_dict"
            if number == 2:
                wrapper.load_state_dict(copy.deepcopy(wrapper.state_dict()))
            rates.clear()
            subject.train(model, wrapper, [number])
            require(bool(rates), "no step of an inner torch optimizer ran")
            expected = rate * 0.5**number
            require(
                abs(rates[-1] - expected) <= 1e-9,
                f"the inner optimizer stepped with lr {rates[-1]:.3g}{when}, the scheduler set "
                f"{expected:.3g}",
            )
            schedule.step()
    require(not caught, f"warns: {caught[0].message}" if caught else "")


@contextmanager
def _rates_of_steps() -> Iterator[list[float]]:
    """Record the learning rate of each optimizer's step; in a chain the innermost is last."""
    rates: list[float] = []

    def record(optimizer: Optimizer, *_: Any) -> None:
        rates.append(float(optimizer.param_groups[0]["lr"]))

    handle = register_optimizer_step_pre_hook(record)
    try:
        yield rates
    finally:
        handle.remove()


def add_param_group(subject: Subject) -> None:
    """Check that a group added during training is zeroed and trained like the others."""
    model, wrapper = subject.fresh()
    add = method(wrapper, "add_param_group")
    subject.train(model, wrapper, range(2))
    groups = len(wrapper.param_groups)
    model.extension = nn.Parameter(torch.zeros(2))
    add({"params": [model.extension]})
    require(len(wrapper.param_groups) == groups + 1, "param_groups doesn't show the new group")
    before = subject.weights(model, wrapper)
    subject.train(model, wrapper, range(2, 5))
    after = subject.weights(model, wrapper)
    names = [name for name, _ in model.named_parameters()]
    still = [n for n, a, b in zip(names, before, after, strict=True) if torch.equal(a, b)]
    require(not still, f"{', '.join(still)} didn't move")
    wrapper.zero_grad()
    require(model.extension.grad is None, "zero_grad leaves out the new group")


def deepcopy(subject: Subject) -> None:
    """Check that a deep copy of model and wrapper trains independently and identically."""
    _copies(subject, copy.deepcopy)


def pickles(subject: Subject) -> None:
    """Check that a pickled copy of model and wrapper trains independently and identically."""
    _copies(subject, lambda pair: pickle.loads(pickle.dumps(pair)))


def _copies(subject: Subject, duplicate: Callable[[Any], Any]) -> None:
    model, wrapper = subject.fresh()
    subject.train(model, wrapper, range(3))
    other_model, other = duplicate((model, wrapper))
    before = subject.weights(model, wrapper)
    subject.train(other_model, other, range(3, 8))
    require(equal(before, subject.weights(model, wrapper)), "training the copy moves the original")
    subject.train(model, wrapper, range(3, 8))
    require(equal(model.parameters(), other_model.parameters()), "training the copy differs")


def local_step_hooks(subject: Subject) -> None:
    """Check that the wrapper's hooks run once a step, around the update, until removed."""
    model, wrapper = subject.fresh()
    calls: list[str] = []
    seen: list[list[torch.Tensor]] = []

    def recorder(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls.append(name)
            seen.append([p.detach().clone() for p in model.parameters()])

        return hook

    handles = [
        method(wrapper, "register_step_pre_hook")(recorder("pre")),
        method(wrapper, "register_step_post_hook")(recorder("post")),
    ]
    for number in range(2):
        calls.clear()
        subject.train(model, wrapper, [number])
        require(calls == ["pre", "post"], f"in one step the hooks ran as {calls}")
    require(not equal(seen[-2], seen[-1]), "the update isn't between the two hooks")
    for handle in handles:
        handle.remove()
    calls.clear()
    subject.train(model, wrapper, [2])
    require(calls == [], "hooks run after they were removed")


def global_step_hooks(subject: Subject) -> None:
    """Check that hooks on all optimizers run once a step, around the wrapper's own."""
    model, wrapper = subject.fresh()
    calls: list[str] = []
    register = method(wrapper, "register_step_pre_hook")
    handles = [
        register_optimizer_step_pre_hook(lambda *_: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda *_: calls.append("global post")),
    ]
    try:
        subject.train(model, wrapper, [0])
        require(calls == ["global pre", "global post"], f"in one step the hooks ran as {calls}")
        try:
            register(lambda *_: calls.append("pre"))
            wrapper.register_step_post_hook(lambda *_: calls.append("post"))
        except AttributeError:
            return  # another point checks that
        calls.clear()
        subject.train(model, wrapper, [1])
        expected = ["global pre", "pre", "post", "global post"]
        order = list(dict.fromkeys(calls))  # another point checks their number
        require(
            order == expected, f"in one step the hooks ran as {calls}, torch's order is {expected}"
        )
    finally:
        for handle in handles:
            handle.remove()


def state_dict_hooks(subject: Subject) -> None:
    """Check that the four state-dict hooks run once each, and that their results are used."""
    model, wrapper = subject.fresh()
    subject.train(model, wrapper, [0])
    calls: list[str] = []

    def returned(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        calls.append("state post")
        return {**state, "note": "kept"}

    method(wrapper, "register_state_dict_pre_hook")(lambda *_: calls.append("state pre"))
    method(wrapper, "register_state_dict_post_hook")(returned)
    method(wrapper, "register_load_state_dict_pre_hook")(lambda *_: calls.append("load pre"))
    method(wrapper, "register_load_state_dict_post_hook")(lambda *_: calls.append("load post"))
    state = wrapper.state_dict()
    require(calls == ["state pre", "state post"], f"state_dict() ran {calls or 'no hooks'}")
    require(state.get("note") == "kept", "state_dict() doesn't return the post-hook's result")
    calls.clear()
    wrapper.load_state_dict(copy.deepcopy(state))
    require(calls == ["load pre", "load post"], f"load_state_dict() ran {calls or 'no hooks'}")


def representation(subject: Subject) -> None:
    """Check that `repr` names the wrapper, and the optimizer in it or its settings."""
    model, wrapper = subject.fresh()
    base = type(subject.optimizer(model.parameters())).__name__
    text = repr(wrapper)
    require(type(wrapper).__name__ in text, f"repr doesn't name the class: {text[:60]}")
    require(base in text or "lr" in text, "repr says nothing of what is wrapped")


def grad_scaler(subject: Subject) -> None:
    """Check that scaled training equals unscaled training, and that an overflow skips the step."""
    plain, unscaled = subject.fresh()
    subject.train(plain, unscaled, range(3))
    model, wrapper = subject.fresh()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for number in range(3):
        subject.scaled_step(model, wrapper, number, scaler)
    pairs = zip(subject.weights(model, wrapper), subject.weights(plain, unscaled), strict=True)
    require(
        all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs),
        "scaled and unscaled training differ",
    )
    before = subject.weights(model, wrapper)
    subject.scaled_step(model, wrapper, 3, scaler, factor=float("inf"))
    require(equal(before, subject.weights(model, wrapper)), "an overflow doesn't skip the step")
    require(scaler.get_scale() == 512.0, "an overflow doesn't lower the scale")


def frozen_parameters(subject: Subject) -> None:
    """Check that parameters are constant while frozen, at any time, and trained afterwards."""
    model, wrapper = subject.fresh(prepare=lambda model: model.head.requires_grad_(False))
    index = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    start = subject.weights(model, wrapper)
    subject.train(model, wrapper, range(2))
    middle = subject.weights(model, wrapper)
    for name in ("head.weight", "head.bias"):
        require(torch.equal(start[index[name]], middle[index[name]]), f"frozen {name} moved")
    model.hidden.weight.requires_grad_(False)
    subject.train(model, wrapper, range(2, 4))
    later = subject.weights(model, wrapper)
    i = index["hidden.weight"]
    require(torch.equal(middle[i], later[i]), "a parameter frozen in mid-training moved")
    model.requires_grad_(True)
    subject.train(model, wrapper, range(4, 6))
    end = subject.weights(model, wrapper)
    require(not any(map(torch.equal, later, end)), "a parameter doesn't move after it was frozen")


def no_closure(subject: Subject) -> None:
    """Check that `step()` uses the present gradients, or that its error mentions the closure."""
    model, wrapper = subject.fresh()
    subject.iteration(model, wrapper, 0)()
    before = subject.weights(model, wrapper)
    try:
        wrapper.step()
    except Exception as error:  # noqa: BLE001  # the wrapper may raise anything
        require(
            "closure" in str(error).lower(),
            f"step() raises {type(error).__name__}: {_line(error)}: no word of a closure",
        )
        require(
            equal(before, subject.weights(model, wrapper)),
            "a step() with an error moves parameters",
        )
        subject.train(model, wrapper, [1])
    require(
        not equal(before, subject.weights(model, wrapper)), "step() does nothing, without an error"
    )


def all_gradients_none(subject: Subject) -> None:
    """Check that a step without any gradient changes nothing, and that training then continues."""
    needs_closure = subject.needs_closure()
    model, wrapper = subject.fresh()
    for number in range(3):
        before = subject.weights(model, wrapper)
        subject.step(wrapper, subject.iteration(model, wrapper, number, backward=False))
        if not needs_closure:
            wrapper.zero_grad(set_to_none=True)
            wrapper.step()
        require(
            equal(before, subject.weights(model, wrapper)), "a step without gradients moves weights"
        )
        subject.train(model, wrapper, [number])
    require(not equal(before, subject.weights(model, wrapper)), "training doesn't continue")


def _line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0][:100]


CONTRACT: dict[str, Callable[[Subject], None]] = {
    "step": step,
    "returns the loss": returns_the_loss,
    "data_ptr kept": data_ptr_kept,
    "save, load, resume": save_load_resume,
    "scheduler": scheduler,
    "add_param_group": add_param_group,
    "deepcopy": deepcopy,
    "pickle": pickles,
    "local step hooks": local_step_hooks,
    "global step hooks": global_step_hooks,
    "state-dict hooks": state_dict_hooks,
    "repr": representation,
    "GradScaler": grad_scaler,
    "frozen parameters": frozen_parameters,
    "no closure": no_closure,
    "all gradients None": all_gradients_none,
}
"""The sixteen points by name."""
