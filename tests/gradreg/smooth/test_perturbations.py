"""The perturbations: the papers' equations, a length of rho in their own metric, their memory."""

import copy
import gc
import io
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg import ASAM, SAM, Friendly, Gaussian, PerturbationSmoother, Random

seeds = st.integers(0, 2**31)
radius = st.floats(0.01, 2.0)


def drawn(seed, *shapes, dtype=torch.float64):
    torch.manual_seed(seed)
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def first(perturbation, params, grads, rhos):
    return list(next(iter(perturbation.offsets(params, list(grads), rhos))))


def norm(tensors):
    return torch.cat([t.flatten() for t in tensors]).norm().item()


# ---- Length -----------------------------------------------------------------------------------


@given(seeds, radius, radius)
def test_the_length_is_rho_in_the_perturbations_metric(seed, rho1, rho2):
    params = drawn(seed, (3, 2), (4,), ())
    grads = drawn(seed + 1, (3, 2), (4,), ())
    rhos = [rho1, rho2, rho1]
    for perturbation in (SAM(), Friendly(), Random(), ASAM(0.1)):
        offsets = first(perturbation, params, grads, rhos)
        if isinstance(perturbation, ASAM):
            offsets = [e / (p.abs() + 0.1) for e, p in zip(offsets, params, strict=True)]
        assert norm([e / rho for e, rho in zip(offsets, rhos, strict=True)]) == pytest.approx(1)


@given(seeds, radius)
def test_asam_is_the_papers_equation_and_blind_to_the_scale_of_a_layer(seed, rho):
    w, g = drawn(seed, 5, 5)
    size = w.abs() + 0.01
    expected = rho * size**2 * g / (size * g).norm()
    torch.testing.assert_close(first(ASAM(), [w], [g], [rho])[0], expected)
    # A layer twice as large has half the gradient; the perturbation grows with the layer.
    [small], [large] = (first(ASAM(0.0), [s * w], [g / s], [rho]) for s in (1, 2))
    torch.testing.assert_close(2 * small, large)


@given(seeds, radius, st.floats(-1, 2), st.floats(0, 0.99))
def test_friendly_removes_the_running_mean(seed, rho, sigma, decay):
    perturbation, mean = Friendly(sigma, decay=decay), torch.zeros(4, dtype=torch.float64)
    w = torch.zeros(4, dtype=torch.float64)
    for g in drawn(seed, *[4] * 4):
        [offset] = first(perturbation, [w], [g], [rho])
        perturbation.learn()
        mean = decay * mean + (1 - decay) * g
        direction = g - sigma * mean
        torch.testing.assert_close(offset * direction.norm(), rho * direction)


def test_random_directions_are_averaged_and_come_in_pairs():
    w = [torch.zeros(3), torch.zeros(2)]
    pairs = list(Random(4, antithetic=True).offsets(w, w, [0.3, 0.3]))
    assert len(pairs) == 4
    assert all(torch.equal(a, -b) for a, b in zip(*pairs[:2], strict=True))
    assert not torch.equal(pairs[0][0], pairs[2][0])
    assert len(list(Random(3).offsets(w, w, [0.3, 0.3]))) == 3


@pytest.mark.parametrize("perturbation", [SAM(), ASAM(), Friendly(), ASAM(0.0)])
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf"), 3e38])
def test_a_gradient_that_points_nowhere_perturbs_nothing(perturbation, bad):
    params = [torch.ones(3), torch.zeros(2)]
    grads = [torch.zeros(3), torch.zeros(2)]
    grads[0][1:] = bad  # the norm of two times 3e38 is infinite in float32
    for offset in first(perturbation, params, grads, [0.5, 0.7]):
        assert torch.equal(offset, torch.zeros_like(offset))


@pytest.mark.parametrize("perturbation", [SAM(), ASAM(), Friendly(), Random()])
def test_dtypes_may_be_mixed_and_complex(perturbation):
    dtypes = [torch.float32, torch.bfloat16, torch.complex64, torch.float16]
    params = [torch.randn(400).to(dtype) for dtype in dtypes]
    offsets = first(perturbation, params, [p * 0.3 for p in params], [0.5] * 4)
    assert [e.dtype for e in offsets] == dtypes
    if isinstance(perturbation, ASAM):
        offsets = [e / (p.abs() + 0.01) for e, p in zip(offsets, params, strict=True)]
    assert sum(e.abs().double().square().sum().item() for e in offsets) == pytest.approx(
        0.25, rel=0.01
    )


def test_a_complex_quadratic_is_its_real_twin():
    z = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128))
    x = nn.Parameter(torch.view_as_real(z.detach()).clone())
    for w in (z, x):
        opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.1), 0.5, every=2)
        for _ in range(3):

            def closure(opt=opt, w=w):
                opt.zero_grad()
                parts = torch.view_as_real(w) if w.is_complex() else w
                (parts.square() * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().sqrt().backward()

            opt.step(closure)
    torch.testing.assert_close(torch.view_as_real(z.detach()), x.detach())


# ---- In the smoother ----------------------------------------------------------------------------


@given(seeds, radius, st.sampled_from(["SGD", "SGD foreach", "Adam", "AdamW", "RMSprop"]))
def test_on_a_quadratic_each_steps_gradient_is_the_closed_form(lab, seed, rho, name):
    start, target, *rows = drawn(seed, *[3] * 5)
    a = torch.stack(rows).T @ torch.stack(rows) + torch.eye(3)
    for perturbation in (ASAM(), Friendly(0.7, decay=0.5)):
        w, ours = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        bare = lab.OPTIMIZERS[name]([w])
        opt = PerturbationSmoother(lab.OPTIMIZERS[name]([ours]), rho, perturbation)
        mean = torch.zeros(3)
        for _ in range(4):

            def closure(opt=opt, ours=ours):
                opt.zero_grad()
                (0.5 * (ours - target) @ a @ (ours - target)).backward()

            opt.step(closure)
            g = a @ (w.detach() - target)
            mean = 0.5 * mean + 0.5 * g
            size = w.detach().abs() + 0.01
            if isinstance(perturbation, ASAM):
                offset = rho * size**2 * g / (size * g).norm()
            else:
                offset = rho * (g - 0.7 * mean) / (g - 0.7 * mean).norm()
            w.grad = a @ (w.detach() + offset - target)
            bare.step()
            torch.testing.assert_close(ours.detach(), w.detach(), rtol=1e-6, atol=1e-9)


def friendly(model, lab, name="Adam"):
    return PerturbationSmoother(lab.OPTIMIZERS[name](lab.groups_of(model)), 0.2, Friendly())


@given(st.integers(0, 4), st.sampled_from(["SGD", "AdamW", "RMSprop"]))
def test_what_friendly_learnt_goes_through_a_file(lab, taken, name):
    model = lab.make_net()
    opt = friendly(model, lab, name)
    lab.train(model, opt, range(taken))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh = lab.make_net(seed=1)
    resumed = friendly(fresh, lab, name)
    lab.train(fresh, resumed, range(7, 9))  # it loads into a state that is there
    fresh.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["opt"])
    lab.train(model, opt, range(taken, taken + 3))
    lab.train(fresh, resumed, range(taken, taken + 3))
    assert lab.same(lab.state_of(model, opt), lab.state_of(fresh, resumed))


def test_what_friendly_learnt_is_copied_and_pickled(lab):
    model = lab.make_net()
    opt = friendly(model, lab)
    lab.train(model, opt, range(2))
    twins = [copy.deepcopy((model, opt)), pickle.loads(pickle.dumps((model, opt)))]
    lab.train(model, opt, range(2, 5))
    for twin, wrapper in twins:
        lab.train(twin, wrapper, range(2, 5))
        assert lab.same(lab.state_of(model, opt), lab.state_of(twin, wrapper))


def test_friendly_learns_nothing_from_a_skipped_step():
    w = nn.Parameter(torch.ones(2))
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.1), 0.1, Friendly())
    opt = gradreg.PostVerificationMask(opt, gradreg.WeakAmplitude(0.0, 1.0))

    def closure(amplitude, slope):
        opt.zero_grad()
        out, _ = opt.verify(w * slope, evidence=torch.tensor(amplitude))
        out.square().sum().backward()

    opt.step(lambda: closure(0.5, 1.0))
    before = opt.state_dict()["gradreg"]["PerturbationSmoother"]
    opt.step(lambda: closure(5.0, 9.0))
    after = opt.state_dict()["gradreg"]["PerturbationSmoother"]
    assert opt.last.skipped
    assert after["steps"] == before["steps"] == 1
    assert torch.equal(after["perturbation"]["mean"]["0"], before["perturbation"]["mean"]["0"])


def test_friendly_learns_the_gradient_without_the_scalers_factor():
    learnt = []
    for scale in (1.0, 256.0):
        w = nn.Parameter(torch.ones(2))
        opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.1), 0.1, Friendly())
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)
        for _ in range(3):

            def closure(opt=opt, w=w, scaler=scaler):
                opt.zero_grad()
                scaler.scale(w.square().sum()).backward()

            opt.step(closure, scaler=scaler)
            scaler.update()
        learnt.append(opt.state_dict()["gradreg"]["PerturbationSmoother"]["perturbation"])
    torch.testing.assert_close(learnt[0]["mean"]["0"], learnt[1]["mean"]["0"])
    assert learnt[0]["mean"]["0"].any()


def test_friendly_goes_on_after_a_gradient_that_is_not_finite():
    w = nn.Parameter(torch.ones(2))
    perturbation = Friendly()
    for g in (torch.ones(2), torch.tensor([float("nan"), 1.0])):
        first(perturbation, [w], [g], [0.1])
        perturbation.learn()
    torch.testing.assert_close(perturbation._mean[w], torch.full((2,), 0.1))


@pytest.mark.parametrize(
    "perturbation", [SAM(), ASAM(), Friendly(), Random(), Gaussian(1, antithetic=False)]
)
def test_in_the_second_pass_one_copy_of_the_parameters_is_all_that_is_held(perturbation):
    def held():
        gc.collect()
        return sum(
            1
            for o in gc.get_objects()
            if type(o) in (torch.Tensor, nn.Parameter) and o.shape == (977,)
        )

    w, counts = nn.Parameter(torch.ones(977)), []
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.1), 0.1, perturbation)

    def closure():
        opt.zero_grad()
        counts.append(held())
        w.square().sum().backward()

    before = held()
    opt.step(closure)
    learnt = isinstance(perturbation, Friendly)  # its mean
    assert counts == [before, before + 1 + learnt]


def test_an_object_with_offsets_alone_that_has_a_state_dict_of_its_own_is_left_alone():
    class Layerwise(nn.Module):
        def offsets(self, params, grads, rhos):
            yield [rho * g / g.norm() for g, rho in zip(grads, rhos, strict=True)]

    w = nn.Parameter(torch.ones(2))
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.1), 0.1, Layerwise())

    def closure():
        opt.zero_grad()
        w.square().sum().backward()

    opt.step(closure)
    opt.load_state_dict(opt.state_dict())


def test_options_out_of_range_are_named():
    for eta in (-0.1, float("inf")):
        with pytest.raises(ValueError, match="eta >= 0"):
            ASAM(eta)
    with pytest.raises(ValueError, match="decay < 1, found 1"):
        Friendly(decay=1)
    with pytest.raises(ValueError, match="finite sigma"):
        Friendly(float("nan"))
    with pytest.raises(ValueError, match="even number, found 3"):
        Random(3, antithetic=True)
    with pytest.raises(ValueError, match="draws >= 1, found True"):
        Gaussian(True)
    with pytest.raises(TypeError, match="a number for the radius rho, found True"):
        PerturbationSmoother(torch.optim.SGD([torch.zeros(1)]), True)
