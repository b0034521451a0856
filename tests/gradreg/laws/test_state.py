"""Law 2: training resumes bit-exactly from a saved state, in every nesting."""

import copy
import io
import itertools
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gradreg

ORDERS = [
    *itertools.permutations(["mask", "smooth", "project"]),
    *itertools.permutations(["mask", "one pass", "project"]),
]
few = settings(max_examples=max(2, settings.default.max_examples // 10))


def allowed(lab, name, order):
    """Drop the level that refuses this optimizer; `test_composition` asks for the refusal."""
    return tuple(level for level in order if (name, level) not in lab.REFUSED)


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def go_on(lab, model, opt, name, order, steps):
    """Train a stack built afresh from what `torch.save` wrote of this one, and compare."""
    saved = through_file({"model": model.state_dict(), "opt": opt.state_dict()})
    lab.train(model, opt, steps)
    fresh = lab.make_net(seed=1)
    resumed = lab.stack(fresh, name, order)
    fresh.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["opt"])
    lab.train(fresh, resumed, steps)
    assert lab.same(lab.state_of(model, opt), lab.state_of(fresh, resumed))
    ours, theirs = opt.state_dict()["gradreg"], resumed.state_dict()["gradreg"]
    assert ours.keys() == theirs.keys()
    assert lab.same(lab.tensors_of(ours), lab.tensors_of(theirs))


@pytest.mark.default_cases(11)
@few
@given(order=st.sampled_from(ORDERS), taken=st.integers(0, 5))
def test_training_goes_on_bit_exactly_from_a_saved_state(lab, optimizer_name, order, taken):
    order = allowed(lab, optimizer_name, order)
    model = lab.make_net()
    opt = lab.stack(model, optimizer_name, order)
    lab.train(model, opt, range(taken))
    go_on(lab, model, opt, optimizer_name, order, range(taken, taken + 3))


@given(data=st.data(), taken=st.integers(0, 9))
def test_every_wrapper_goes_on_at_any_point_of_its_period(lab, data, taken):
    level = data.draw(st.sampled_from(list(lab.WRAPPERS)))
    name = data.draw(st.sampled_from(["SGD", "Adam", "RMSprop"]))
    model = lab.make_net()
    opt = lab.stack(model, name, (level,))
    lab.train(model, opt, range(taken))
    go_on(lab, model, opt, name, (level,), range(taken, taken + 6))


@pytest.mark.default_cases(11)
@few
@given(order=st.sampled_from(ORDERS), by=st.sampled_from(["deepcopy", "pickle"]))
def test_deepcopy_and_pickle_go_on_by_themselves(lab, optimizer_name, order, by):
    if optimizer_name.startswith("LBFGS"):
        optimizer_name = "ASGD"  # torch's LBFGS survives neither: it loses `_params`
    order = allowed(lab, optimizer_name, order)
    model = lab.make_net()
    opt = lab.stack(model, optimizer_name, order)
    torch.optim.lr_scheduler.StepLR(opt, 1)  # replaces `step` on the instance
    lab.train(model, opt, range(3))
    if by == "deepcopy":
        other_model, other = copy.deepcopy((model, opt))
    else:  # the module's class is in a file that can't be imported by name
        parts = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        model, opt = parts, lab.stack(parts, optimizer_name, order)
        lab.train(model, opt, range(3))
        other_model, other = pickle.loads(pickle.dumps((model, opt)))
    before = lab.state_of(model, opt)
    lab.train(other_model, other, range(3, 6))
    assert lab.same(before, lab.state_of(model, opt))
    lab.train(model, opt, range(3, 6))
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


PROGRAM = """
import sys, torch, gradreg
from pathlib import Path
folder, stops = Path(sys.argv[1]), [int(stop) for stop in sys.argv[2:]]
torch.set_num_threads(1)
for kind, smooth in (("two", 0.05), ("one", {"one_pass": True})):
    torch.manual_seed(stops[0])
    model = torch.nn.Linear(4, 2)
    opt = gradreg.regularize(
        torch.optim.AdamW(model.parameters()), model,
        mask=gradreg.WeakAmplitude(0.0, 3.0, adaptive=0.8), smooth=smooth, project=0.9,
    )
    if stops[0]:
        state = torch.load(folder / f"{kind}-{stops[0]}.pt", weights_only=True)
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["opt"])
    for step in range(stops[0], stops[-1] + 1):
        if step in stops[1:]:
            state = {"model": model.state_dict(), "opt": opt.state_dict()}
            torch.save(state, folder / f"{kind}-{step}.pt")
        torch.manual_seed(step)
        x = torch.randn(8, 4)
        with opt.observe_noise():
            model(x[:1])
        def closure():
            opt.zero_grad()
            out, _ = opt.verify(model(x))
            loss = out.square().mean()
            loss.backward()
            return loss
        opt.step(closure)
"""


def test_another_process_goes_on_bit_exactly(lab, tmp_path):
    def process(*stops):
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), *map(str, stops)]
        subprocess.run(arguments, check=True)

    def load(name):
        return torch.load(tmp_path / f"{name}.pt", weights_only=True)

    process(0, 2, 5)
    expected = {kind: load(f"{kind}-5") for kind in ("two", "one")}
    process(2, 5)
    for kind, whole in expected.items():
        parts = load(f"{kind}-5")
        assert whole["opt"]["gradreg"].keys() == parts["opt"]["gradreg"].keys()
        assert lab.same(lab.tensors_of(whole), lab.tensors_of(parts))


@pytest.mark.default_cases(11)
@few
@given(order=st.sampled_from(ORDERS))
def test_a_bare_state_dict_loads_into_a_wrapper_and_back(lab, optimizer_name, order):
    model = lab.make_net()
    bare = lab.stack(model, optimizer_name)
    lab.train(model, bare, range(3))
    other = lab.make_net()
    other.load_state_dict(model.state_dict())
    wrapped = lab.stack(other, optimizer_name, order)
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
    with pytest.warns(UserWarning, match=r"holds the state of NullSpaceProjector, .*dropped"):
        lab.stack(model, "Adam", ("mask",)).load_state_dict(opt.state_dict())


class Nested(torch.optim.SGD):
    """An optimizer with a state dict of its own form, as some that hold another one have."""

    def state_dict(self):
        return {"base": super().state_dict(), "tau": 2.0}

    def load_state_dict(self, state_dict):
        assert state_dict["tau"] == 2.0
        super().load_state_dict(state_dict["base"])


def test_a_state_dict_of_another_form_is_the_optimizers_own_business(lab):
    def made():
        model = lab.make_net()
        opt = Nested(model.parameters(), lr=0.05, momentum=0.9)
        for level in ("project", "smooth", "mask"):
            opt = lab.WRAPPERS[level](opt, model)
        return model, opt

    model, opt = made()
    lab.train(model, opt, range(3))
    other, resumed = made()
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    lab.train(model, opt, range(3, 6))
    lab.train(other, resumed, range(3, 6))
    assert lab.same(list(model.parameters()), list(other.parameters()))


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


@pytest.mark.parametrize("order", ORDERS)
def test_loading_does_not_tie_the_stack_to_what_was_loaded(lab, order):
    """Torch's own part of it is tied, as ever: that is not copied on loading."""
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    lab.train(model, opt, range(3))
    state = through_file(opt.state_dict())
    before = lab.tensors_of(state["gradreg"])
    opt.load_state_dict(state)
    lab.train(model, opt, range(3, 7))
    assert lab.same(before, lab.tensors_of(state["gradreg"]))


# ---- The format of the state -------------------------------------------------------------------


def test_the_state_has_a_format_number_and_a_state_without_one_still_loads(lab):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("project", "smooth", "mask"))
    lab.train(model, opt, range(3))
    state = through_file(opt.state_dict())
    assert state["gradreg"]["version"] == 1
    del state["gradreg"]["version"], state["gradreg"]["shapes"]
    other = lab.stack(model, "Adam", ("project", "smooth", "mask"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.load_state_dict(state)
    assert other.stats == opt.stats


@pytest.mark.parametrize("version", [2, 0, "1.0", None])
def test_a_state_of_another_format_is_refused_and_nothing_is_loaded(lab, version):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("project", "smooth", "mask"))
    lab.train(model, opt, range(3))
    state = opt.state_dict()
    state["gradreg"] = {**state["gradreg"], "version": version}
    fresh = lab.stack(model, "Adam", ("project", "smooth", "mask"))
    with pytest.raises(ValueError, match=r"format .*, expected 1: load it with the version"):
        fresh.load_state_dict(state)
    assert not fresh.state_dict()["state"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_state_of_another_architecture_is_refused_and_nothing_is_loaded(lab, order):
    wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 2))
    shallow = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    opt = lab.stack(wide, "Adam", order)
    lab.train(wide, opt, range(3))
    other = lab.stack(narrow, "Adam", order)
    with pytest.raises(
        ValueError, match=r"parameter 0 has shape \(8, 16\), the optimizer's \(4, 16\): build"
    ):
        other.load_state_dict(opt.state_dict())
    third = lab.stack(shallow, "Adam", order)
    with pytest.raises(ValueError, match="parameter"):
        third.load_state_dict(opt.state_dict())
    for model, fresh in ((narrow, other), (shallow, third)):
        assert not fresh.state_dict()["state"]
        lab.train(model, fresh, range(2))


# ---- Distributed checkpointing -----------------------------------------------------------------


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


@pytest.mark.parametrize("evaluating", [False, True])
def test_distributed_checkpointing_without_optimizer_state_changes_nothing(lab, evaluating):
    """SGD without momentum never has state, so that every checkpoint tries to create it."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = lab.make_net()
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    opt = lab.WRAPPERS["mask"](gradreg.OnePassSmoother(opt), model)
    lab.train(model, opt, range(3))
    opt.zero_grad()
    if evaluating:
        opt.eval()
    before = lab.state_of(model, opt), repr(opt.state_dict()["gradreg"]), opt.last
    get_optimizer_state_dict(model, opt)
    assert lab.same(before[0], lab.state_of(model, opt))
    assert before[1:] == (repr(opt.state_dict()["gradreg"]), opt.last)
    opt.train()
    lab.train(model, opt, range(3, 5))


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
