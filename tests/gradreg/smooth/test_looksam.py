"""Every k-th step in full, the flat component reused between: right gradients, passes saved."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg import ASAM, Friendly, Gaussian, PerturbationSmoother

seeds = st.integers(0, 2**31)
names = st.sampled_from(["SGD", "SGD foreach", "Adam", "AdamW", "RMSprop"])


def looksam(model, lab, name="Adam", every=3, **options):
    return PerturbationSmoother(
        lab.OPTIMIZERS[name](lab.groups_of(model)), 0.2, every=every, **options
    )


@given(seeds, names, st.floats(0.05, 1), st.floats(0, 2), st.integers(1, 4))
def test_both_kinds_of_step_are_the_papers_equations(lab, seed, name, rho, alpha, every):
    torch.manual_seed(seed)
    rows, target = torch.randn(5, 4).double(), torch.randn(4).double()
    a = rows.T @ rows + torch.eye(4)
    w = nn.Parameter(torch.randn(4).double())
    first, second = nn.Parameter(w.detach()[:1].clone()), nn.Parameter(w.detach()[1:].clone())
    bare = lab.OPTIMIZERS[name]([w])
    opt = PerturbationSmoother(
        lab.OPTIMIZERS[name]([{"params": [first]}, {"params": [second]}]),
        rho,
        every=every,
        alpha=alpha,
    )
    calls = []

    def closure():
        opt.zero_grad()
        calls.append(None)
        ours = torch.cat([first, second])
        (0.5 * (ours - target) @ a @ (ours - target)).backward()

    for step in range(2 * every + 1):
        opt.step(closure)
        g = a @ (w.detach() - target)
        if step % every == 0:
            w.grad = a @ (w.detach() + rho * g / g.norm() - target)
            flat = w.grad - (w.grad @ g) / (g @ g) * g
        else:
            w.grad = g + alpha * g.norm() / flat.norm() * flat
        bare.step()
        torch.testing.assert_close(
            torch.cat([first, second]).detach(), w.detach(), rtol=1e-5, atol=1e-8
        )
    assert len(calls) == 2 * every + 1 + 3


def test_passes_are_really_saved(lab):
    model, calls = lab.make_net(), []
    opt = looksam(model, lab, every=3)
    for step in range(7):
        closure, before = lab.make_closure(model, opt, step), len(calls)

        def counting(closure=closure):
            calls.append(None)
            return closure()

        opt.step(counting)
        assert len(calls) - before == (2 if step % 3 == 0 else 1)


@pytest.mark.parametrize("perturbation", [None, ASAM(), Friendly(), Gaussian(4)])
@pytest.mark.parametrize("taken", range(5))
def test_training_goes_on_bit_exactly_at_any_point_of_the_period(lab, taken, perturbation):
    model = lab.make_net()
    opt = looksam(model, lab, perturbation=copy.deepcopy(perturbation))
    lab.train(model, opt, range(taken))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh = lab.make_net(seed=1)
    resumed = looksam(fresh, lab, perturbation=copy.deepcopy(perturbation))
    lab.train(fresh, resumed, range(2))
    fresh.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["opt"])
    twins = [
        (fresh, resumed),
        copy.deepcopy((model, opt)),
        pickle.loads(pickle.dumps((model, opt))),
    ]
    torch.manual_seed(3)
    lab.train(model, opt, range(taken, taken + 4))
    for twin, wrapper in twins:
        torch.manual_seed(3)
        lab.train(twin, wrapper, range(taken, taken + 4))
        assert lab.same(lab.state_of(model, opt), lab.state_of(twin, wrapper))


def test_it_is_saved_by_distributed_checkpointing(lab, tmp_path):
    import torch.distributed.checkpoint as dcp

    model, fresh = lab.make_net(), lab.make_net(seed=1)
    opt, resumed = (looksam(m, lab, perturbation=Friendly()) for m in (model, fresh))
    lab.train(model, opt, range(2))
    lab.train(fresh, resumed, range(7, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": model, "opt": opt}, checkpoint_id=tmp_path, no_dist=True)
        dcp.load({"model": fresh, "opt": resumed}, checkpoint_id=tmp_path, no_dist=True)
    lab.train(model, opt, range(2, 6))
    lab.train(fresh, resumed, range(2, 6))
    assert lab.same(lab.state_of(model, opt), lab.state_of(fresh, resumed))


@given(st.integers(0, 6), st.permutations(["smooth", "mask", "project"]))
def test_a_skipped_step_neither_counts_nor_changes_what_is_reused(lab, skipped, order):
    def run(skip):
        model = lab.make_net()
        opt = lab.OPTIMIZERS["Adam"](lab.groups_of(model))
        for level in order:
            if level == "smooth":
                opt = PerturbationSmoother(opt, 0.2, Friendly(), every=3)
            elif level == "mask":
                opt = gradreg.PostVerificationMask(opt, gradreg.WeakAmplitude(0.0, 1.5))
            else:
                opt = gradreg.NullSpaceProjector(opt, model, strength=0.0)
        for step in range(7):
            if step == skip:
                statistics = copy.deepcopy(model.norm.state_dict())

                def wild(opt=opt, model=model):
                    opt.zero_grad()
                    out = model(lab.batch(99)[0])
                    out, _ = opt.verify(out, evidence=torch.full_like(out, 9.0))
                    out.square().mean().backward()

                opt.step(wild)
                model.norm.load_state_dict(statistics)
            opt.step(lab.make_closure(model, opt, step))
        return lab.state_of(model, opt)

    assert lab.same(run(None), run(skipped))


@given(names, st.integers(2, 4))
def test_without_a_radius_it_is_the_bare_optimizer_in_one_pass(lab, name, every):
    states = []
    for wrapped in (False, True):
        model, calls = lab.make_net(), []
        opt = lab.OPTIMIZERS[name](lab.groups_of(model))
        if wrapped:
            opt = PerturbationSmoother(opt, 0.0, every=every)
        for step in range(5):
            closure = lab.make_closure(model, opt, step)
            opt.step(lambda closure=closure, calls=calls: (calls.append(None), closure())[1])
        states.append(lab.state_of(model, opt))
        assert len(calls) == 5
    assert lab.same(*states)


def test_a_radius_that_comes_and_goes_reuses_nothing_old():
    w, passes = nn.Parameter(torch.tensor([1.0, 2.0])), []
    opt = PerturbationSmoother(
        torch.optim.SGD([w], lr=0.01), lambda step: 0.1 * (step not in (3, 4)), every=3
    )

    def closure():
        opt.zero_grad()
        passes[-1] += 1
        (w.square() * torch.tensor([1.0, 5.0])).sum().backward()

    for _ in range(7):
        passes.append(0)
        opt.step(closure)
    assert passes == [2, 1, 1, 1, 1, 2, 2]


def test_a_group_without_a_radius_keeps_its_plain_gradient_between():
    w, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))
    groups = [{"params": [w]}, {"params": [b], "perturbation_rho": 0.0}]
    opt = PerturbationSmoother(torch.optim.SGD(groups, lr=0.01), 0.1, every=2)

    def closure():
        opt.zero_grad()
        (w.square() * torch.tensor([1.0, 5.0])).sum().add(b.square().sum()).backward()

    opt.step(closure)
    before = b.item()
    opt.step(closure)
    assert b.grad.item() == pytest.approx(2 * before)
    assert not torch.allclose(w.grad / w.grad[0], torch.tensor([1.0, 5.0]) * w / w[0], rtol=1e-2)


def test_a_component_of_rounding_errors_is_not_blown_up():
    w = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.01), 0.1, every=2)

    def closure():
        opt.zero_grad()
        w.square().sum().pow(1.5).backward()  # the gradient points the same way everywhere near

    opt.step(closure)
    before = w.detach().clone()
    opt.step(closure)
    torch.testing.assert_close(w.grad, 3 * before.norm() * before)


@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_a_scalers_factor_changes_nothing(scale):
    w = nn.Parameter(torch.tensor([1.0, 2.0]).double())
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.01), 0.1, every=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)
    plain = nn.Parameter(w.detach().clone())
    other = PerturbationSmoother(torch.optim.SGD([plain], lr=0.01), 0.1, every=2)

    def closure(w, opt, scale):
        opt.zero_grad()
        scale((w.square() * torch.tensor([1.0, 5.0])).sum()).backward()

    for _ in range(5):
        opt.step(lambda: closure(w, opt, scaler.scale), scaler=scaler)
        scaler.update()
        other.step(lambda: closure(plain, other, lambda loss: loss))
    torch.testing.assert_close(w, plain)


@pytest.mark.parametrize("broken", [1, 2])
def test_an_overflow_in_either_pass_skips_the_whole_step(broken):
    w, calls = nn.Parameter(torch.tensor([1.0, 2.0])), []
    opt = PerturbationSmoother(torch.optim.Adam([w]), 0.1, Friendly(), every=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)

    def closure():
        calls.append(None)
        opt.zero_grad()
        loss = (w.square() * torch.tensor([1.0, 5.0])).sum()
        scaler.scale(loss * (float("inf") if len(calls) == broken else 1.0)).backward()

    before = w.detach().clone()
    opt.step(closure, scaler=scaler)
    scaler.update()
    assert torch.equal(w, before)
    assert not opt.state
    assert scaler.get_scale() == 4.0
    assert opt.state_dict()["gradreg"]["PerturbationSmoother"] == {
        "steps": 0,
        "flat": {},
        "perturbation": {"mean": {}},
    }
    opt.step(closure, scaler=scaler)
    assert len(calls) == 4
    assert not torch.equal(w, before)


def test_a_parameter_of_another_shape_is_looked_at_anew():
    w, passes = nn.Parameter(torch.tensor([1.0, 2.0])), []
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.01), 0.1, Friendly(), every=4)

    def closure():
        opt.zero_grad()
        passes[-1] += 1
        (w**3).sum().backward()

    for step in range(4):
        if step == 2:
            w.data = torch.tensor([1.0, 2.0, 3.0])
        passes.append(0)
        opt.step(closure)
    assert passes == [2, 1, 2, 1]


def test_without_a_closure_no_step_of_the_period_works(lab):
    model = lab.make_net()
    opt = looksam(model, lab)
    for step in range(3):
        lab.make_closure(model, opt, step)()
        with pytest.raises(RuntimeError, match=r"OnePassSmoother.*one_pass"):
            opt.step()
        opt.step(lab.make_closure(model, opt, step))


def test_options_out_of_range_are_named():
    bare = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    for every in (0, True, 1.5):
        with pytest.raises(ValueError, match=f"every >= 1, found {every}"):
            PerturbationSmoother(bare, every=every)
    with pytest.raises(ValueError, match="alpha >= 0, found -1"):
        PerturbationSmoother(bare, alpha=-1)
    with pytest.raises(ValueError, match="'averaged' or 'local', found 'mean'"):
        PerturbationSmoother(bare, ascent="mean")
    with pytest.raises(ValueError, match="every > 1, found 'local'"):
        PerturbationSmoother(bare, ascent="local", every=2)
    with pytest.raises(TypeError, match="DistributedDataParallel, found model=Linear"):
        PerturbationSmoother(bare, ascent="local", model=nn.Linear(1, 1))
