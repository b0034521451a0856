"""Law 1 over the configurations and scenarios of PyTorch's own optimizer tests."""

import copy
import itertools

import pytest
import torch
from torch import nn

import gradreg

pytest.importorskip("expecttest")  # torch.testing._internal needs it
from torch.testing._internal.common_optimizers import (
    _get_optim_inputs_including_global_cliquey_kwargs,
    optim_db,
)

INFOS = {info.optim_cls.__name__: info for info in optim_db}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]


def configurations(info, device):
    """All of them, with foreach, fused, differentiable and (on CUDA) capturable."""
    inputs = _get_optim_inputs_including_global_cliquey_kwargs(device, torch.float32, info)
    configs = [config.kwargs for config in inputs]
    if device == "cpu" and "foreach" in info.supported_impls:  # torch lists it for CUDA alone
        configs += [{**c.kwargs, "foreach": True} for c in info.optim_inputs_func(device)]
    return configs


def wrap(opt, levels):
    if levels >= 1:
        opt = gradreg.NullSpaceProjector(opt, None)
    if levels >= 2:
        opt = gradreg.PerturbationSmoother(opt, rho=0.0)
    if levels >= 3:
        opt = gradreg.PostVerificationMask(opt)
    return opt


def make_parameters(info, device):
    torch.manual_seed(0)
    second = (2, 3) if info.optim_cls is torch.optim.Muon else (3,)  # Muon takes matrices alone
    return [torch.randn(shape).to(device) for shape in ((4, 3), second)]


def objective(params):
    x = torch.linspace(-1, 1, 20, device=params[0].device).reshape(5, 4)
    return (x @ params[0]).sin().sum() + (params[1] - 1).sin().sum()  # bounded


def trajectory(info, kwargs, levels, device):
    params = [nn.Parameter(value) for value in make_parameters(info, device)]
    # torch asks for a group each for such a lr or weight decay; the copy keeps tensors apart.
    opt = wrap(info.optim_cls(params, **copy.deepcopy(kwargs)), levels)

    def closure():
        opt.zero_grad()
        loss = objective(params)
        loss.backward()
        if info.only_supports_sparse_grads:
            for p in params:
                p.grad = p.grad.to_sparse()
        return loss.detach()

    losses = []
    for i in range(4):
        if info.step_requires_closure or i % 2:
            losses.append(opt.step(closure))
        else:
            closure()
            losses.append(opt.step())
    return [*(p.detach() for p in params)], losses


def derivative(info, kwargs, levels, device):
    """Differentiate one step of a differentiable optimizer by start and gradients.

    One, since the second overwrites moments that the first one's derivative needs, bare as well.
    """
    start = [value.double().requires_grad_() for value in make_parameters(info, device)]
    gradients = [(0.3 * value.detach().cos() + 0.1).requires_grad_() for value in start]
    params = [value.clone() for value in start]
    opt = wrap(info.optim_cls(params, **copy.deepcopy(kwargs)), levels)
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient
    opt.step()
    out = sum(p.square().sum() for p in params)
    found = torch.autograd.grad(out, [*start, *gradients], allow_unused=True)
    return [p.detach() for p in params], [d for d in found if d is not None]


def equal(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", list(INFOS))
def test_every_configuration_is_bit_identical_bare_and_wrapped_once_twice_thrice(optimizer, device):
    info = INFOS[optimizer]
    configs = configurations(info, device)
    assert len(configs) >= 4
    for kwargs in configs:
        run = derivative if kwargs.get("differentiable") else trajectory
        bare = run(info, kwargs, 0, device)
        for levels in (1, 2, 3):
            wrapped = run(info, kwargs, levels, device)
            message = f"{optimizer} {kwargs} wrapped {levels}×"
            assert equal(bare[0], wrapped[0]), message
            assert equal(bare[1], wrapped[1]), message


def test_the_configurations_are_all_there():
    kinds = {"foreach": 0, "fused": 0, "differentiable": 0, "maximize": 0, "lr": 0}
    tensors = total = 0
    for info in INFOS.values():
        for kwargs in configurations(info, "cpu"):
            total += 1
            tensors += isinstance(kwargs.get("lr"), torch.Tensor)
            for kind in kinds:
                kinds[kind] += bool(kwargs.get(kind))
    assert total > 200
    assert tensors >= 5
    assert all(count > 10 for count in kinds.values()), kinds
    assert {info.optim_cls for info in optim_db} == {
        value
        for value in vars(torch.optim).values()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    } - {torch.optim.Optimizer}


@pytest.mark.parametrize("optimizer", [name for name in INFOS if INFOS[name].has_capturable_arg])
def test_capturable_on_the_cpu_is_refused_as_by_the_bare_optimizer(optimizer):
    messages = []
    for levels in (0, 3):
        p = nn.Parameter(torch.ones(3))
        p.grad = torch.ones(3)
        opt = wrap(INFOS[optimizer].optim_cls([p], capturable=True, foreach=False), levels)
        with pytest.raises(AssertionError, match="capturable") as raised:
            opt.step()
        messages.append(str(raised.value))
        assert p.tolist() == [1, 1, 1]
    assert messages[0] == messages[1]


# ---- Scenarios of torch/test/test_optim.py ------------------------------------------------------


def dense(kind):
    return kind != "SparseAdam"


def make(optimizer, levels, **kwargs):
    info = INFOS[optimizer]
    params = [nn.Parameter(value) for value in make_parameters(info, "cpu")]
    return params, wrap(info.optim_cls(params, **kwargs), levels)


def closure_of(optimizer, params, opt):
    def closure():
        opt.zero_grad()
        loss = objective(params)
        loss.backward()
        if not dense(optimizer):
            for p in params:
                p.grad = p.grad.to_sparse()
        return loss.detach()

    return closure


@pytest.mark.parametrize("optimizer", list(INFOS))
def test_step_hooks_run_in_order(optimizer):
    """`test_step_all_hooks`: global pre, own pre, own post, global post; may see the optimizer."""
    from torch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    params, opt = make(optimizer, 3)
    data = []

    def note(value):
        def hook(base, args, kwargs):
            assert base is opt.base
            data.append(value)

        return hook

    opt.register_step_pre_hook(note(1))
    opt.register_step_post_hook(note(2))
    handles = [
        register_optimizer_step_pre_hook(note(0)),
        register_optimizer_step_post_hook(note(5)),
    ]
    try:
        opt.step(closure_of(optimizer, params, opt))
        assert data == [0, 1, 2, 5]
        opt.inner.inner.register_step_pre_hook(note(-1))  # on whichever level
        handle = opt.inner.register_step_post_hook(note(7))
        opt.step(closure_of(optimizer, params, opt))
        assert data[4:] == [0, 1, -1, 2, 7, 5]
        handle.remove()
    finally:
        for handle in handles:
            handle.remove()
    opt.step(closure_of(optimizer, params, opt))
    assert data[10:] == [1, -1, 2]


@pytest.mark.parametrize("optimizer", list(INFOS))
def test_state_dict_hooks_may_replace_what_they_see(optimizer):
    """`test_state_dict_pre/post_hook`, `test_load_state_dict_pre/post_hook`, and prepended ones."""
    _, opt = make(optimizer, 2)
    seen = []

    def replace(base, state):
        seen.append(("replace", "gradreg" in state))
        return {**state, "param_groups": [{**g, "ours": 1} for g in state["param_groups"]]}

    handle = opt.register_state_dict_post_hook(replace)
    opt.register_state_dict_pre_hook(lambda base: seen.append("late"))
    opt.register_state_dict_pre_hook(lambda base: seen.append("early"), prepend=True)
    state = opt.state_dict()
    assert seen == ["early", "late", ("replace", False)]
    assert [g["ours"] for g in state["param_groups"]] == [1]
    assert "gradreg" in state
    handle.remove()

    opt.register_load_state_dict_pre_hook(
        lambda base, state: {
            **state,
            "param_groups": [{**g, "ours": 2} for g in state["param_groups"]],
        }
    )
    opt.register_load_state_dict_post_hook(
        lambda base: base.param_groups[0].update(ours=base.param_groups[0]["ours"] + 1)
    )
    opt.load_state_dict(state)
    assert opt.param_groups[0]["ours"] == 3


NEVER_ABSENT = {"Adafactor": {"maximize"}}  # flags that a class has had from the beginning


@pytest.mark.parametrize("optimizer", list(INFOS))
def test_older_state_dicts_load(optimizer):
    """`test_can_load_older_state_dict`: flags that newer releases added to groups are absent."""
    params, opt = make(optimizer, 3)
    closure = closure_of(optimizer, params, opt)
    opt.step(closure)
    state = copy.deepcopy(opt.state_dict())
    flags = {"maximize", "foreach", "fused", "differentiable", "capturable"}
    flags -= NEVER_ABSENT.get(optimizer, set())
    for group in state["param_groups"]:
        for flag in flags:
            group.pop(flag, None)
    for key in ("version", "shapes"):
        del state["gradreg"][key]
    opt.load_state_dict(state)
    opt.step(closure)


@pytest.mark.parametrize("optimizer", list(INFOS))
def test_state_dict_and_deepcopy_go_on_bit_exactly_in_every_configuration(optimizer):
    """`test_state_dict_deterministic` and `test_deepcopy_copies_all_public_attrs`."""
    info = INFOS[optimizer]
    for kwargs in configurations(info, "cpu"):
        if kwargs.get("differentiable"):
            # No leaf may be changed with its history kept, so these can't train: bare ones alike.
            params, opt = make(optimizer, 3, **copy.deepcopy(kwargs))
            with pytest.raises(RuntimeError, match="leaf Variable"):
                opt.step(closure_of(optimizer, params, opt))
            continue
        params, opt = make(optimizer, 3, **copy.deepcopy(kwargs))
        closure = closure_of(optimizer, params, opt)
        for _ in range(2):
            opt.step(closure)
        copied = copy.deepcopy((params, opt))
        others, fresh = make(optimizer, 3, **copy.deepcopy(kwargs))
        with torch.no_grad():
            for other, p in zip(others, params, strict=True):
                other.copy_(p)
        fresh.load_state_dict(copy.deepcopy(opt.state_dict()))
        public = [name for name in dir(opt) if not name.startswith("_")]
        assert public == [name for name in dir(copied[1]) if not name.startswith("_")]
        continuations = [(others, fresh), copied]
        if optimizer == "LBFGS":
            # A copy of the bare one can't step either: torch doesn't copy its `_params`.
            with pytest.raises(AttributeError, match="_params"):
                copied[1].step(closure_of(optimizer, *copied))
            continuations.pop()
        for their_params, theirs in [(params, opt), *continuations]:
            for _ in range(2):
                theirs.step(closure_of(optimizer, their_params, theirs))
        for their_params, _ in continuations:
            assert equal(params, their_params), kwargs


@pytest.mark.parametrize("optimizer", [n for n in INFOS if n not in ("LBFGS", "Muon")])
def test_a_lr_tensor_is_kept_and_scheduled_in_place(optimizer):
    """`test_tensor_lr`; LBFGS copies it to a number, Muon takes numbers alone."""
    results = []
    for levels in (0, 3):
        lr = torch.tensor(0.01)
        params, opt = make(optimizer, levels, lr=lr)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
        for _ in range(3):
            opt.step(closure_of(optimizer, params, opt))
            scheduler.step()
        assert opt.param_groups[0]["lr"] is lr
        assert lr.item() == pytest.approx(0.00125)
        results.append([p.detach() for p in params])
    assert equal(*results)


@pytest.mark.parametrize("optimizer", list(INFOS))
def test_bad_arguments_are_the_bare_optimizers_business(optimizer):
    """`test_errors`: whatever add_param_group refuses, the wrapper refuses in the same words."""
    for added in (
        {"params": [torch.ones(2, 2, requires_grad=True) * 2]},
        {"params": {nn.Parameter(torch.ones(2, 2))}},
        {"params": ["no tensor"]},
    ):
        messages = []
        for levels in (0, 2):
            _, opt = make(optimizer, levels)
            with pytest.raises((TypeError, ValueError)) as raised:
                opt.add_param_group(dict(added))
            messages.append(str(raised.value))
        assert messages[0] == messages[1]


def test_wrapping_is_the_same_in_every_nesting_of_the_neutral_three():
    def levels(order, opt):
        made = {
            "project": lambda o: gradreg.NullSpaceProjector(o, None),
            "smooth": lambda o: gradreg.PerturbationSmoother(o, rho=0.0),
            "mask": gradreg.PostVerificationMask,
        }
        for name in order:
            opt = made[name](opt)
        return opt

    info = INFOS["AdamW"]
    results = []
    for order in [(), *itertools.permutations(["project", "smooth", "mask"])]:
        params = [nn.Parameter(value) for value in make_parameters(info, "cpu")]
        opt = levels(order, torch.optim.AdamW(params))
        for _ in range(3):
            opt.step(closure_of("AdamW", params, opt))
        results.append([p.detach() for p in params])
    assert all(equal(results[0], other) for other in results[1:])
