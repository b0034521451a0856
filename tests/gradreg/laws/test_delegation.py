"""Law 3: groups, state, defaults, hooks and the levels' own methods reach who owns them."""

import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn

import gradreg
from gradreg.forwarding import LEVELS

ORDERS = [
    *itertools.permutations(["mask", "smooth", "project"]),
    *itertools.permutations(["mask", "one pass", "project"]),
]


@pytest.mark.parametrize("order", ORDERS)
def test_hooks_run_once_a_step_and_once_a_state_dict(lab, order):
    from torch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append("pre"))
    opt.register_step_post_hook(lambda *_: calls.append("post"))
    opt.register_state_dict_pre_hook(lambda *_: calls.append("save pre"))
    opt.register_state_dict_post_hook(lambda *_: calls.append("save post"))
    opt.register_load_state_dict_pre_hook(lambda *_: calls.append("load pre"))
    opt.register_load_state_dict_post_hook(lambda *_: calls.append("load post"))
    handles = [
        register_optimizer_step_pre_hook(lambda *_: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda *_: calls.append("global post")),
    ]
    try:
        lab.train(model, opt, range(1))
    finally:
        for handle in handles:
            handle.remove()
    opt.load_state_dict(opt.state_dict())
    assert calls == [
        *("global pre", "pre", "post", "global post"),
        *("save pre", "save post", "load pre", "load post"),
    ]


def test_hooks_run_once_a_step_on_every_optimizer(lab, optimizer_name):
    model = lab.make_net()
    opt = lab.stack(model, optimizer_name, ("project", "one pass", "mask"))
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append("pre"))
    opt.register_step_post_hook(lambda *_: calls.append("post"))
    lab.train(model, opt, range(2))
    assert calls == ["pre", "post", "pre", "post"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_post_hook_sees_the_weights_that_the_step_leaves(lab, order):
    """A moving average kept by a hook must not take in a change that is then projected away."""
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    seen = []
    opt.register_step_post_hook(
        lambda *_: seen.append([p.detach().clone() for p in model.parameters()])
    )
    for step in range(3):
        lab.train(model, opt, range(step, step + 1))
        with opt.unperturbed():
            assert lab.same(seen[-1], list(model.parameters()))


def test_groups_state_and_defaults_are_the_base_optimizers(lab, optimizer_name):
    model = lab.make_net()
    opt = lab.stack(model, optimizer_name, ("project", "one pass", "mask"))
    assert isinstance(opt, torch.optim.Optimizer)
    lab.train(model, opt, range(2))
    opt.load_state_dict(opt.state_dict())  # torch rebinds groups and state here
    assert opt.state is opt.base.state
    assert opt.defaults is opt.base.defaults
    assert opt.param_groups is opt.base.param_groups
    extra = nn.Parameter(torch.zeros(3, 2))
    opt.add_param_group({"params": [extra], "lr": 0.5})
    assert opt.base.param_groups[-1]["lr"] == 0.5
    extra.grad = torch.ones(3, 2)
    opt.zero_grad(set_to_none=False)
    assert not extra.grad.any()
    opt.zero_grad()
    assert extra.grad is None
    groups = len(opt.param_groups)
    opt.param_groups = opt.param_groups[:-1]
    assert len(opt.base.param_groups) == groups - 1
    opt.__setstate__({"state": {}})
    assert opt.base.state == {}
    assert opt.unwrap() is opt.base
    assert repr(opt).startswith("PostVerificationMask(OnePassSmoother(NullSpaceProjector(")


@pytest.mark.parametrize(
    ("method", "arguments", "level"),
    [
        ("verify", (torch.ones(1),), "PostVerificationMask"),
        ("verify_input", (torch.ones(1),), "PostVerificationMask"),
        ("observe_noise", (), "NullSpaceProjector"),
        ("observe_signal", (), "NullSpaceProjector"),
        ("protect", (torch.ones(1), torch.ones(1)), "NullSpaceProjector"),
        ("clear", (), "NullSpaceProjector"),
        ("basis", (torch.ones(1),), "NullSpaceProjector"),
    ],
)
def test_a_method_of_an_absent_level_names_the_wrapper_to_add(lab, method, arguments, level):
    opt = gradreg.OptimizerWrapper(lab.stack(lab.make_net(), "SGD"))
    with pytest.raises(RuntimeError, match=rf"{method}\(\) belongs to {level}.*gradreg\.{level}\("):
        getattr(opt, method)(*arguments)


def test_the_table_names_the_level_that_implements_each_method():
    for name, level in LEVELS.items():
        assert name in vars(getattr(gradreg, level))


def test_what_the_mask_did_is_read_through_the_chain(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("mask", "project", "smooth"))
    lab.train(model, opt, range(2))
    assert opt.stats.steps == 2
    assert opt.last == opt.inner.inner.last
    bare = gradreg.OptimizerWrapper(lab.stack(lab.make_net(), "SGD"))
    assert not hasattr(bare, "last")
    with pytest.raises(AttributeError, match="stats belongs to PostVerificationMask"):
        _ = bare.stats


def test_a_class_in_place_of_an_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"wraps an optimizer instance, found.*SGD.*build it"):
        gradreg.PerturbationSmoother(torch.optim.SGD)


def test_the_library_needs_torch_alone():
    code = "import sys, gradreg; print([m for m in ('scipy', 'rppg') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
