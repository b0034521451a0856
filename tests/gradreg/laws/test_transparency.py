"""Law 1: with neutral settings a wrapper's trajectory is the bare optimizer's, bit for bit."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

NEUTRAL = [
    "mask",
    "mask, gradient prior",
    "smooth",
    "smooth, LookSAM",
    "one pass",
    "project",
    "project nothing",
]
few = settings(max_examples=max(3, settings.default.max_examples // 8))


def test_the_table_holds_every_optimizer_of_torch(lab):
    known = {type(make([torch.zeros(2, 2)])) for make in _on_bare_lists(lab).values()}
    exported = {
        value
        for value in vars(torch.optim).values()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
    }
    assert exported - known == {torch.optim.Optimizer}  # the base class, no optimizer


def _on_bare_lists(lab):
    return {
        name: (lambda p, make=make: make([{"params": p}])) for name, make in lab.OPTIMIZERS.items()
    }


def test_every_optimizer_of_the_table_moves_the_model(lab, optimizer_name):
    model = lab.make_net()
    before = lab.tensors_of(list(model.parameters()))
    lab.train(model, lab.stack(model, optimizer_name), range(4))
    assert not lab.same(before, lab.tensors_of(list(model.parameters())))


@few
@given(
    levels=st.lists(st.sampled_from(NEUTRAL), unique=True, min_size=1).map(tuple),
    closed=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_neutral_settings_are_bit_identical_to_the_bare_optimizer(
    lab, optimizer_name, levels, closed, dtype
):
    closed = closed or optimizer_name.startswith("LBFGS")
    if optimizer_name == "SparseAdam":  # refused, see below
        levels = tuple(level for level in levels if level != "mask, gradient prior")
    if dtype == torch.bfloat16 and optimizer_name == "SparseAdam":
        dtype = torch.float32  # torch itself has no sparse bfloat16 kernel for it
    states = []
    for chosen in ((), levels):
        model = lab.make_net(dtype)
        opt = lab.stack(model, optimizer_name, chosen, neutral=True)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            opt, 0.05, total_steps=9, cycle_momentum=False
        )
        losses = []
        for i in range(5):
            if closed:
                losses += lab.train(model, opt, range(i, i + 1), scheduler)
            else:
                losses.append(lab.make_closure(model, opt, i)().item())
                assert opt.step() is None
                scheduler.step()
        states.append((lab.state_of(model, opt), losses, scheduler.get_last_lr()))
    bare, wrapped = states
    assert lab.same(bare[0], wrapped[0])
    assert bare[1:] == wrapped[1:]


@pytest.mark.parametrize("levels", [(level,) for level in NEUTRAL])
def test_parameters_without_a_gradient_are_left_alone(lab, optimizer_name, levels):
    """PyTorch's `test_step_is_noop_when_params_have_no_grad`; no state appears either."""
    model = lab.make_net()
    opt = lab.stack(model, optimizer_name, levels, neutral=True)
    before = lab.tensors_of(list(model.parameters()))
    closure = (lambda: torch.tensor(1.0)) if optimizer_name.startswith("LBFGS") else None
    initial = lab.tensors_of(opt.state_dict()["state"])  # Adagrad has some at once
    opt.step(closure)
    assert lab.same(before, lab.tensors_of(list(model.parameters())))
    if closure is None:
        assert lab.same(initial, lab.tensors_of(opt.state_dict()["state"]))


@pytest.mark.parametrize("levels", [(level,) for level in NEUTRAL])
def test_zero_gradients_do_what_they_do_to_the_bare_optimizer(lab, optimizer_name, levels):
    """PyTorch's `test_step_is_noop_for_zero_grads`: weight decay and moments still act."""
    results = []
    for chosen in ((), levels):
        model = lab.make_net()
        opt = lab.stack(model, optimizer_name, chosen, neutral=True)

        def closure(model=model, opt=opt):
            opt.zero_grad()
            loss = sum((p * 0.0).sum() for p in model.parameters())
            loss.backward()
            if optimizer_name == "SparseAdam":
                for p in model.parameters():
                    p.grad = p.grad.to_sparse()
            return loss

        if (optimizer_name, *levels) in lab.REFUSED and chosen:
            return
        opt.step(closure)
        results.append(lab.state_of(model, opt))
    assert lab.same(*results)


def test_what_takes_no_sparse_gradients_says_so(lab):
    for (name, level), message in lab.REFUSED.items():
        model = lab.make_net()
        opt = lab.stack(model, name, (level,))
        before = lab.tensors_of(list(model.parameters()))
        with pytest.raises(TypeError, match=message):
            lab.train(model, opt, range(1))
        assert lab.same(before, lab.tensors_of(list(model.parameters())))


def test_a_closure_under_no_grad_still_has_gradients(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project", "smooth", "mask"))
    with torch.no_grad():
        lab.train(model, opt, range(1))
    assert all(p.grad is not None for p in model.parameters())


def test_parameters_of_several_dtypes_and_complex_ones(lab):
    """Foreach implementations sort by dtype; so must the levels."""
    results = []
    for levels in ((), ("mask", "smooth", "project"), ("one pass", "mask")):
        torch.manual_seed(0)
        a = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))
        b = nn.Parameter(torch.randn(3, 2))
        c = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))
        model = nn.ParameterList([a, b, c])
        opt = torch.optim.Adam(model.parameters(), lr=0.1, foreach=True)
        for level in levels:
            opt = lab.NEUTRAL[level](opt, model)

        def closure(opt=opt, a=a, b=b, c=c):
            opt.zero_grad()
            loss = a.sin().sum() + b.cos().sum() + (c * c.conj()).real.sum()
            loss.backward()
            return loss

        for _ in range(3):
            opt.step(closure)
        results.append(lab.state_of(model, opt))
    assert lab.same(results[0], results[1])
    assert lab.same(results[0], results[2])
