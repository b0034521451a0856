"""Laws that hold of every wrapper: transparency, state fidelity, delegation, composition, skips."""

import copy
import io
import itertools
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg

NAMES = ["SGD", "SGD foreach", "Adam", "AdamW", "RMSprop"]
LEVELS = ["mask", "smooth", "project"]
NEUTRAL = ["mask", "smooth", "one pass", "project", "project nothing"]
ORDERS = [
    *itertools.permutations(LEVELS),
    *itertools.permutations(["mask", "one pass", "project"]),
]

names = st.sampled_from(NAMES)
any_levels = st.one_of(
    *(
        st.lists(st.sampled_from(["mask", smoother, "project"]), unique=True, min_size=2)
        for smoother in ("smooth", "one pass")
    )
).map(tuple)


# ---- 1. Transparency ---------------------------------------------------------------------------


@given(name=names, levels=st.lists(st.sampled_from(NEUTRAL), unique=True, min_size=1).map(tuple))
def test_neutral_settings_are_bit_identical_to_the_bare_optimizer(lab, name, levels):
    states = []
    for chosen in ((), levels):
        model = lab.make_net()
        opt = lab.stack(model, name, chosen, neutral=True)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            opt, 0.05, total_steps=9, cycle_momentum=False
        )
        losses = lab.train(model, opt, range(5), scheduler)
        states.append((lab.state_of(model, opt), losses, scheduler.get_last_lr()))
    bare, wrapped = states
    assert lab.same(bare[0], wrapped[0])
    assert bare[1:] == wrapped[1:]


def test_every_configuration_of_torchs_own_optimizer_tests_is_bit_identical():
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_optimizers import optim_db

    def run(info, config, levels):
        torch.manual_seed(0)
        # Muon takes matrices alone, SparseAdam sparse gradients.
        if info.optim_cls is torch.optim.Muon:
            params = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(2, 3))]
        else:
            params = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))]
        opt = info.optim_cls(params, **copy.deepcopy(config.kwargs))
        if levels:
            opt = gradreg.NullSpaceProjector(opt, None)
            if levels > 1:
                opt = gradreg.PostVerificationMask(gradreg.PerturbationSmoother(opt, rho=0.0))
        x = torch.randn(5, 4)

        def closure():
            opt.zero_grad()
            loss = (x @ params[0]).sin().sum() + (params[1] - 1).sin().sum()  # bounded
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
        return [p.detach() for p in params], losses

    count = 0
    for info in optim_db:
        for config in info.optim_inputs_func(device="cpu", dtype=torch.float32):
            if config.kwargs.get("differentiable"):
                continue
            bare = run(info, config, 0)
            for levels in (1, 3):
                wrapped = run(info, config, levels)
                message = f"{info.optim_cls.__name__} {config.kwargs} wrapped {levels}×"
                assert all(torch.equal(a, b) for a, b in zip(bare[0], wrapped[0], strict=True)), (
                    message
                )
                assert bare[1] == wrapped[1], message
            count += 1
    assert count > 80


# ---- 2. State fidelity -------------------------------------------------------------------------


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@given(name=names, order=st.sampled_from(ORDERS), taken=st.integers(0, 5))
def test_training_goes_on_bit_exactly_from_a_saved_state(lab, name, order, taken):
    model = lab.make_net()
    opt = lab.stack(model, name, order)
    lab.train(model, opt, range(taken))
    saved = through_file({"model": model.state_dict(), "opt": opt.state_dict()})
    lab.train(model, opt, range(taken, taken + 4))

    fresh = lab.make_net(seed=1)
    resumed = lab.stack(fresh, name, order)
    fresh.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["opt"])
    lab.train(fresh, resumed, range(taken, taken + 4))
    assert lab.same(lab.state_of(model, opt), lab.state_of(fresh, resumed))
    assert opt.state_dict()["gradreg"].keys() == resumed.state_dict()["gradreg"].keys()


@given(name=names, order=st.sampled_from(ORDERS))
def test_deepcopy_and_pickle_go_on_by_themselves(lab, name, order):
    class_level = gradreg.WeakAmplitude(0.0, 1.5, adaptive=0.7)
    model = lab.make_net()
    opt = lab.stack(model, name, order)
    torch.optim.lr_scheduler.StepLR(opt, 1)  # replaces `step` on the instance
    lab.train(model, opt, range(3))
    copies = [
        copy.deepcopy((model, opt)),
    ]
    assert class_level.quantile is None
    before = lab.state_of(model, opt)
    for other_model, other in copies:
        lab.train(other_model, other, range(3, 6))
    assert lab.same(before, lab.state_of(model, opt))
    lab.train(model, opt, range(3, 6))
    for other_model, other in copies:
        assert lab.same(lab.state_of(model, opt), lab.state_of(other_model, other))


def test_pickle_of_a_whole_stack_goes_on_bit_exactly(lab):
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(24, 2))
    opt = gradreg.regularize(
        torch.optim.AdamW(model.parameters()),
        model,
        mask=gradreg.WeakAmplitude(0.0, 2.0, adaptive=0.5) & ~gradreg.MedianOutlier(9.0),
        smooth=0.05,
        project=0.9,
    )
    lab.train(model, opt, range(3))
    model2, opt2 = pickle.loads(pickle.dumps((model, opt)))
    lab.train(model, opt, range(3, 6))
    lab.train(model2, opt2, range(3, 6))
    assert lab.same(lab.state_of(model, opt), lab.state_of(model2, opt2))


@given(name=names, order=st.sampled_from(ORDERS))
def test_a_bare_state_dict_loads_into_a_wrapper_and_back(lab, name, order):
    model = lab.make_net()
    bare = lab.stack(model, name)
    lab.train(model, bare, range(3))
    other = lab.make_net()
    other.load_state_dict(model.state_dict())
    wrapped = lab.stack(other, name, order)
    wrapped.load_state_dict(through_file(bare.state_dict()))
    assert lab.same(lab.state_of(model, bare), lab.state_of(other, wrapped))
    bare.load_state_dict(through_file(wrapped.state_dict()))
    assert lab.same(lab.state_of(model, bare), lab.state_of(other, wrapped))


def test_a_state_saved_in_one_nesting_loads_into_another(lab):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("mask", "project"))
    lab.train(model, opt, range(5))
    other = lab.stack(model, "Adam", ("project", "mask"))
    other.load_state_dict(opt.state_dict())
    assert other.stats == opt.inner.stats
    with pytest.warns(UserWarning, match=r"NullSpaceProjector.*dropped"):
        lab.stack(model, "Adam", ("mask",)).load_state_dict(opt.state_dict())


def test_two_levels_of_one_class_keep_their_states_apart(lab):
    model = lab.make_net()
    opt = gradreg.PostVerificationMask(
        gradreg.PostVerificationMask(lab.stack(model, "SGD"), gradreg.MedianOutlier()),
        gradreg.WeakAmplitude(0.0, 1.0),
    )
    lab.train(model, opt, range(2))
    state = opt.state_dict()["gradreg"]
    assert state["PostVerificationMask#2"]["steps"] == 2
    assert state["PostVerificationMask"]["steps"] == 0


# ---- 3. Delegation -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_scheduler_on_any_level_acts_and_does_not_warn(lab, depth):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project", "smooth", "mask"))
    held = opt
    for _ in range(depth):
        held = held.inner
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = torch.optim.lr_scheduler.ExponentialLR(held, 0.5)
        lab.train(model, opt, range(2), scheduler)
    assert opt.param_groups is opt.base.param_groups
    assert [group["lr"] for group in opt.base.param_groups] == [0.0125, 0.005]


def test_groups_state_and_defaults_are_the_base_optimizers(lab):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("project", "smooth", "mask"))
    assert isinstance(opt, torch.optim.Optimizer)
    opt.load_state_dict(opt.state_dict())  # torch rebinds groups and state here
    assert opt.state is opt.base.state
    assert opt.defaults is opt.base.defaults
    extra = nn.Parameter(torch.zeros(3))
    opt.add_param_group({"params": [extra], "lr": 0.5})
    assert opt.base.param_groups[2]["lr"] == 0.5
    extra.grad = torch.ones(3)
    opt.zero_grad(set_to_none=False)
    assert extra.grad.tolist() == [0, 0, 0]
    opt.param_groups = opt.param_groups[:2]
    assert len(opt.base.param_groups) == 2
    opt.__setstate__({"state": {}})
    assert opt.base.state == {}
    assert opt.unwrap() is opt.base
    assert repr(opt).startswith("PostVerificationMask(PerturbationSmoother(NullSpaceProjector(Ad")


@pytest.mark.parametrize(
    ("method", "arguments", "level"),
    [
        ("verify", (torch.ones(1),), "PostVerificationMask"),
        ("verify_input", (torch.ones(1),), "PostVerificationMask"),
        ("observe_noise", (), "NullSpaceProjector"),
        ("observe_signal", (), "NullSpaceProjector"),
        ("protect", (torch.ones(1), torch.ones(1)), "NullSpaceProjector"),
        ("eval", (), "OnePassSmoother"),
        ("train", (), "OnePassSmoother"),
        ("unperturbed", (), "OnePassSmoother"),
    ],
)
def test_a_method_of_an_absent_level_names_the_wrapper_to_add(lab, method, arguments, level):
    opt = gradreg.OptimizerWrapper(lab.stack(lab.make_net(), "SGD"))
    with pytest.raises(RuntimeError, match=rf"{method}\(\) belongs to {level}.*gradreg\.{level}\("):
        getattr(opt, method)(*arguments)


def test_a_class_in_place_of_an_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"wraps an optimizer instance, found.*SGD.*build it"):
        gradreg.PerturbationSmoother(torch.optim.SGD)


def test_the_library_needs_torch_alone():
    code = "import sys, gradreg; print([m for m in ('scipy', 'rppg') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# ---- 7. Composition ----------------------------------------------------------------------------


@given(name=names, levels=any_levels)
def test_every_nesting_runs_and_all_orders_agree(lab, name, levels):
    results = []
    for order in itertools.permutations(levels):
        model = lab.make_net()
        opt = lab.stack(model, name, order)
        losses = lab.train(model, opt, range(5))
        results.append((lab.state_of(model, opt), losses))
    assert all(lab.same(results[0][0], other[0]) for other in results)
    assert all(results[0][1] == other[1] for other in results)


# ---- 8. Skips ----------------------------------------------------------------------------------


@given(name=names, order=st.sampled_from(ORDERS), taken=st.integers(0, 3), closed=st.booleans())
def test_a_step_that_keeps_nothing_leaves_everything_untouched(lab, name, order, taken, closed):
    model = lab.make_net()
    if not closed:
        order = tuple(level for level in order if level != "smooth")
    opt = lab.stack(model, name, order)
    lab.train(model, opt, range(taken))
    with opt.observe_noise():
        model(lab.batch(77)[0])
    model.eval()  # BatchNorm's statistics are the forward pass's business
    before = lab.state_of(model, opt)
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append("pre"))
    opt.register_step_post_hook(lambda *_: calls.append("post"))
    x, y = lab.batch(9)

    def closure():
        opt.zero_grad()
        out, keep = opt.verify(model(x), evidence=torch.full((6, 1), 99.0))
        assert keep.sum() == 0
        loss = (out - y).square().mean()
        loss.backward()
        return loss

    loss = opt.step(closure) if closed else (closure(), opt.step())[0]
    mask = opt
    while not isinstance(mask, gradreg.PostVerificationMask):
        mask = mask.inner
    assert mask.last == gradreg.MaskStep(kept=0.0, skipped=True)
    assert mask.stats.skipped == 1
    assert loss > 0
    assert calls == ["pre"]
    assert lab.same(before, lab.state_of(model, opt))


# ---- What else people do with optimizers -------------------------------------------------------


@pytest.mark.parametrize("order", [("project", "mask"), ("mask", "project")])
def test_gradscaler_steps_and_skips(lab, order):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", order)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def iteration(step, poison=1.0):
        x, y = lab.batch(step)
        opt.zero_grad()
        out, _ = opt.verify(model(x), evidence=torch.zeros(6, 1))
        scaler.scale((out - y).square().mean() * poison).backward()
        scaler.step(opt)
        scaler.update()

    plain = lab.make_net()
    bare = lab.stack(plain, "AdamW")
    for step in range(3):
        iteration(step)
        lab.train(plain, bare, range(step, step + 1))
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    before = lab.state_of(nn.ModuleList([model.conv, model.head]), opt)
    iteration(3, poison=float("inf"))
    assert lab.same(before, lab.state_of(nn.ModuleList([model.conv, model.head]), opt))
    assert scaler.get_scale() == 512.0


def test_an_overflowing_iteration_does_not_vouch_for_the_next(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("mask",))
    scaler = torch.amp.GradScaler("cpu")
    for evidence, poison in ((0.0, float("inf")), (99.0, 1.0)):
        opt.zero_grad()
        out, _ = opt.verify(model(lab.batch(0)[0]), evidence=torch.full((6, 1), evidence))
        scaler.scale(out.square().mean() * poison).backward()
        scaler.step(opt)
        scaler.update()
    assert opt.last.skipped


@pytest.mark.parametrize("order", ORDERS)
def test_gradscaler_through_a_closure(lab, order):
    model = lab.make_net(torch.float64)
    opt = lab.stack(model, "AdamW", order)
    plain = lab.make_net(torch.float64)
    other = lab.stack(plain, "AdamW", order)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        x, y = lab.batch(step, torch.float64)

        def closure(x=x, y=y):
            opt.zero_grad()
            out = model(x)
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
            scaler.scale((out - y).square().mean()).backward()

        opt.step(closure, scaler=scaler)
        scaler.update()
        lab.train(plain, other, range(step, step + 1), observe=False)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    before = [p.detach().clone() for p in model.parameters()]

    def poisoned():
        opt.zero_grad()
        scaler.scale(model(lab.batch(0, torch.float64)[0]).sum() * torch.inf).backward()

    opt.step(poisoned, scaler=scaler)
    scaler.update()
    assert lab.same(before, list(model.parameters()))
    assert scaler.get_scale() == 512.0


def test_gradient_accumulation_equals_the_joined_batch(lab):
    models = [lab.make_net(torch.float64), lab.make_net(torch.float64)]
    for model, parts in zip(models, (1, 3), strict=True):
        model.norm = nn.Identity()  # its statistics see the micro-batch
        opt = lab.stack(model, "Adam", ("project", "mask"))
        for step in range(3):
            opt.zero_grad()
            x, y = lab.batch(step, torch.float64)
            for xs, ys in zip(x.chunk(parts), y.chunk(parts), strict=True):
                evidence = xs[:, :1, 0].abs()
                out, _ = opt.verify(model(xs), evidence, prior=gradreg.WeakAmplitude(0.0, 1.0))
                ((out - ys).square().mean() / parts).backward()
            opt.step()
        assert 0 < opt.stats.kept < 1
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("order", ORDERS)
def test_distributed_checkpointing_initialises_a_fresh_optimizer(lab, order):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = lab.make_net()
    before = [p.detach().clone() for p in model.parameters()]
    opt = lab.stack(model, "Adam", order)
    fresh = opt.state_dict()["gradreg"]
    state = get_optimizer_state_dict(model, opt)
    assert "conv.weight" in state["state"]
    assert lab.same(before, list(model.parameters()))
    assert repr(opt.state_dict()["gradreg"]) == repr(fresh)


@pytest.mark.parametrize("order", ORDERS)
def test_the_wrapper_is_an_entry_of_a_distributed_checkpoint(lab, order, tmp_path):
    import torch.distributed.checkpoint as dcp

    model, fresh = lab.make_net(), lab.make_net(seed=1)
    opt, resumed = lab.stack(model, "Adam", order), lab.stack(fresh, "Adam", order)
    lab.train(model, opt, range(4))
    lab.train(fresh, resumed, range(7, 9))  # it loads into state that is there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": model, "opt": opt}, checkpoint_id=tmp_path, no_dist=True)
        dcp.load({"model": fresh, "opt": resumed}, checkpoint_id=tmp_path, no_dist=True)
    lab.train(model, opt, range(4, 8))
    lab.train(fresh, resumed, range(4, 8))
    assert lab.same(lab.state_of(model, opt), lab.state_of(fresh, resumed))


def test_lbfgs_moves_on_after_a_skip(lab):
    w = nn.Parameter(torch.tensor([2.0, -3.0]))
    opt = gradreg.PostVerificationMask(
        torch.optim.LBFGS([w], line_search_fn="strong_wolfe"), gradreg.WeakAmplitude(0.0, 1.0)
    )

    def closure(amplitude):
        opt.zero_grad()
        out, _ = opt.verify(w * 1.0, evidence=torch.tensor(amplitude))
        loss = (out - 1).square().sum()
        loss.backward()
        return loss

    opt.step(lambda: closure(5.0))
    assert w.tolist() == [2.0, -3.0]
    opt.step(lambda: closure(0.5))
    assert torch.allclose(w, torch.ones(2), atol=1e-4)
