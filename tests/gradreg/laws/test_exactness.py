"""Laws 4 to 6 over every optimizer; each level's own test file goes deeper."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gradreg

few = settings(max_examples=max(3, settings.default.max_examples // 8))
bad = st.sampled_from([math.nan, math.inf, -math.inf])


# ---- 4. The mask --------------------------------------------------------------------------------


@few
@given(
    rejected=st.lists(st.booleans(), min_size=6, max_size=6).filter(lambda r: not all(r)),
    evidence=bad,
    gradient=bad,
)
def test_rejected_entries_have_no_say_in_the_step(
    lab, optimizer_name, rejected, evidence, gradient
):
    """Training with entries rejected is training without them, whatever their gradient is."""
    drop = torch.tensor(rejected)
    results = []
    for with_them in (True, False):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape))
        opt = lab.stack(model, optimizer_name, ("mask",) if with_them else ())
        for step in range(3):
            x, y = lab.batch(step)

            def closure(x=x, y=y, opt=opt, model=model, with_them=with_them):
                opt.zero_grad()
                out = model(x)
                if with_them:
                    say = torch.zeros(6, 1).masked_fill(drop[:, None], evidence)
                    out, keep = opt.verify(out, evidence=say, prior=gradreg.WeakAmplitude(0, 1))
                    assert torch.equal(keep[:, 0] == 0, drop)
                error = (out - y).square()
                # Not multiplied by keep: the loss itself is poisoned.
                poison = torch.where(drop[:, None], gradient, 1.0)
                loss = (error * poison if with_them else error * ~drop[:, None]).sum()
                loss.backward()
                if optimizer_name == "SparseAdam":
                    for p in model.parameters():
                        p.grad = p.grad.to_sparse()
                return (error.detach() * ~drop[:, None]).sum()

            opt.step(closure)
        results.append([p.detach() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        assert a.isfinite().all()
        assert torch.equal(a, b)


# ---- 5. The smoother ----------------------------------------------------------------------------


@pytest.mark.default_cases(11)
@few
@given(rho=st.floats(0.01, 1.0), levels=st.permutations(["smooth", "project", "mask"]))
def test_the_base_optimizer_steps_from_clean_weights_with_the_gradient_at_the_perturbed(
    lab, optimizer_name, rho, levels
):
    """The step equals the bare optimizer's, given by hand the gradient at w + ρ·g/‖g‖."""
    if optimizer_name.startswith("LBFGS"):
        optimizer_name = "Rprop"  # it evaluates between its moves: not one step, one gradient
    if optimizer_name == "SparseAdam":
        optimizer_name = "SGD"  # refused, as test_composition shows
    model, other = lab.make_net(torch.float64), lab.make_net(torch.float64)
    model.norm, other.norm = nn.Identity(), nn.Identity()
    opt = lab.stack(model, optimizer_name, ("smooth",))
    opt.rho = rho
    bare = lab.stack(other, optimizer_name)
    for step in range(3):
        opt.step(lab.make_closure(model, opt, step))
        closure = lab.make_closure(other, bare, step)
        closure()
        mine = [p for group in bare.param_groups for p in group["params"]]
        clean = [p.detach().clone() for p in mine]
        norm = torch.stack([p.grad.norm() for p in mine]).norm()
        with torch.no_grad():
            for p in mine:
                p.add_(rho * p.grad / norm)
        closure()
        with torch.no_grad():
            for p, w in zip(mine, clean, strict=True):
                p.copy_(w)
        bare.step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


# ---- 6. The projector ---------------------------------------------------------------------------


@pytest.mark.default_cases(11)
@few
@given(
    order=st.sampled_from([("project",), *itertools.permutations(["project", "one pass", "mask"])]),
    rank=st.integers(1, 7),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_no_optimizer_moves_the_response_to_noise(lab, optimizer_name, order, rank, dtype):
    """‖(W₁ − W₀)·U‖ ≤ 4·eps·(‖W₀‖ + ‖ΔW‖) in each step, and the complement moves."""
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).to(dtype)
    opt = lab.stack(model, optimizer_name, order)
    noise = torch.randn(rank, 16, dtype=dtype)
    with opt.observe_noise():
        model(noise)
    projector = opt
    while not isinstance(projector, gradreg.NullSpaceProjector):
        projector = projector.inner
    weight = model[1].weight
    basis = projector.basis(weight)[0]
    identity = torch.eye(basis.shape[1], dtype=torch.float64)
    assert torch.allclose(basis.mT @ basis, identity, atol=1e-12)
    moved = False
    for step in range(4):
        with opt.unperturbed():
            before = weight.detach().double().clone()
        lab.train(model, opt, range(step, step + 1), observe=False)
        with opt.unperturbed():
            change = weight.detach().double() - before
        bound = 4 * torch.finfo(dtype).eps * (before.norm() + change.norm())
        assert (change @ basis).norm() <= bound
        moved |= bool(change.norm() > 100 * bound)
    assert moved


@pytest.mark.parametrize("mode", ["freeze", "release"])
def test_both_modes_hold_under_every_optimizer(lab, optimizer_name, mode):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False)).double()
    opt = gradreg.NullSpaceProjector(lab.stack(model, optimizer_name), model, mode=mode, energy=1.0)
    noise = torch.randn(3, 16, dtype=torch.float64)
    with opt.observe_noise():
        model(noise)
    response = model(noise).detach()
    for step in range(6):
        lab.train(model, opt, range(step, step + 1), observe=False)
        now = model(noise).detach()
        if mode == "freeze":
            torch.testing.assert_close(now, response, rtol=1e-9, atol=1e-9)
        else:
            assert (now.abs() <= response.abs() + 1e-9).all()
            assert (now * response >= -1e-9).all()
        response = now
