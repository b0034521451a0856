"""The smoother: the right gradient, weights that come back bit by bit, one pass where rho = 0."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg import SAM, Gaussian, PerturbationSmoother

values = st.floats(-3, 3, width=32).map(lambda x: round(x, 3))
vectors = st.lists(values, min_size=3, max_size=3).map(lambda v: torch.tensor(v).double())


def quadratic(w, matrix, target, seen=None):
    """½ (w - target)ᵀ A (w - target), with A = M Mᵀ + I; notes the weights it is called at."""
    a = matrix @ matrix.T + torch.eye(3).double()

    def closure(opt):
        opt.zero_grad()
        if seen is not None:
            seen.append(w.detach().clone())
        loss = 0.5 * (w - target) @ a @ (w - target)
        loss.backward()
        return loss

    return a, closure


# ---- 5. Smoother exactness --------------------------------------------------------------------


@given(vectors, vectors, st.lists(vectors, min_size=3, max_size=3), st.floats(0.01, 2.0))
def test_on_a_quadratic_the_step_is_the_closed_form(start, target, rows, rho):
    w = nn.Parameter(start.clone())
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.1), rho)
    seen = []
    a, closure = quadratic(w, torch.stack(rows), target, seen)
    loss = opt.step(lambda: closure(opt))
    g = a @ (start - target)
    offset = rho * g / g.norm() if g.norm() > 0 else torch.zeros(3).double()
    torch.testing.assert_close(seen[1] - start, offset)
    torch.testing.assert_close(w.detach(), start - 0.1 * (a @ (start + offset - target)))
    assert torch.equal(seen[0], start)
    assert loss.item() == pytest.approx((0.5 * (start - target) @ g).item())


@given(vectors, vectors, st.floats(0.01, 2.0), st.floats(0.01, 2.0))
def test_one_norm_over_all_groups_each_scaled_by_its_own_radius(g1, g2, rho1, rho2):
    params = [nn.Parameter(torch.zeros(3).double()) for _ in range(2)]
    groups = [
        {"params": [params[0]]},
        {"params": [params[1]], "perturbation_rho": rho2},
    ]
    opt = PerturbationSmoother(torch.optim.SGD(groups, lr=0.0), rho1)
    seen = []

    def closure():
        opt.zero_grad()
        seen.append([p.detach().clone() for p in params])
        (params[0] @ g1 + params[1] @ g2).backward()

    opt.step(closure)
    norm = torch.cat([g1, g2]).norm()
    for offset, g, rho in zip(seen[1], (g1, g2), (rho1, rho2), strict=True):
        torch.testing.assert_close(offset, rho * g / norm if norm > 0 else torch.zeros_like(g))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_base_step_starts_from_the_very_same_bits(dtype):
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(1000).to(dtype))
    before = w.detach().clone()
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.0), 0.37, Gaussian(4))

    def closure():
        opt.zero_grad()
        (w**3).sum().backward()

    opt.step(closure)
    assert torch.equal(w, before)
    assert w.data_ptr() == opt.param_groups[0]["params"][0].data_ptr()


def test_an_exception_in_the_second_pass_leaves_weights_and_statistics_clean(lab):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("smooth",))
    lab.train(model, opt, range(2))
    before = lab.state_of(nn.ModuleList([model.conv, model.head]), opt)
    closure, calls = lab.make_closure(model, opt, 2), []

    def failing():
        calls.append([b.clone() for b in model.norm.buffers()])
        loss = closure()
        if len(calls) == 2:
            raise ZeroDivisionError
        return loss

    with pytest.raises(ZeroDivisionError):
        opt.step(failing)
    assert lab.same(before, lab.state_of(nn.ModuleList([model.conv, model.head]), opt))
    assert lab.same(calls[1], list(model.norm.buffers()))


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("perturbation", [SAM(), Gaussian(4)])
def test_running_statistics_move_once_a_step(lab, found, perturbation):
    model, plain = lab.make_net(), lab.make_net()
    opt = PerturbationSmoother(
        lab.stack(model, "SGD"), 0.3, perturbation, model=None if found else model
    )
    opt.step(lab.make_closure(model, opt, 0))
    plain(lab.batch(0)[0])
    assert lab.same(list(model.norm.buffers()), list(plain.norm.buffers()))


@given(vectors, vectors, st.lists(vectors, min_size=3, max_size=3))
def test_antithetic_draws_average_to_the_exact_gradient_of_a_quadratic(start, target, rows):
    w = nn.Parameter(start.clone())
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=1.0), 0.5, Gaussian(4))
    seen = []
    a, closure = quadratic(w, torch.stack(rows), target, seen)
    opt.step(lambda: closure(opt))
    torch.testing.assert_close(w.detach(), start - a @ (start - target))
    assert len(seen) == 5
    torch.testing.assert_close(seen[1] + seen[2], 2 * start)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_are_averaged_over_the_draws(set_to_none):
    w = nn.Parameter(torch.zeros(1))
    scales = iter([100.0, 1.0, 2.0, 6.0])
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=1.0), 0.1, Gaussian(3, antithetic=False))

    def closure():
        opt.zero_grad(set_to_none)
        (w * next(scales)).sum().backward()

    opt.step(closure)
    assert w.item() == -3.0


def test_gaussian_offsets_have_the_stated_spread():
    w = [torch.zeros(100_000)]
    [offset] = next(iter(Gaussian(1, antithetic=False).offsets(w, w, [0.25])))
    assert offset.std().item() == pytest.approx(0.25, rel=0.02)
    assert offset.mean().item() == pytest.approx(0.0, abs=0.005)


def test_a_perturbation_of_ones_own_fits():
    class Down:
        def offsets(self, params, grads, rhos):
            yield [torch.full_like(p, -rho) for p, rho in zip(params, rhos, strict=True)]

    w = nn.Parameter(torch.tensor([1.0]))
    opt = PerturbationSmoother(torch.optim.SGD([w], lr=1.0), 0.5, Down())

    def closure():
        opt.zero_grad()
        w.square().sum().backward()

    opt.step(closure)
    assert w.item() == 0.0  # 1 - 2·(1 - 0.5)


def test_rho_as_a_function_of_the_step_is_saved_and_zero_takes_one_pass():
    w = nn.Parameter(torch.ones(2))
    calls = []

    def smoother():
        return PerturbationSmoother(torch.optim.SGD([w], lr=0.1), lambda step: 0.1 * (step >= 2))

    def closure():
        calls.append(None)
        w.grad = None
        w.square().sum().backward()

    opt = smoother()
    for _ in range(2):
        opt.step(closure)
    assert len(calls) == 2
    resumed = smoother()
    resumed.load_state_dict(opt.state_dict())
    resumed.step(closure)
    assert len(calls) == 4


def test_dropout_draws_the_same_masks_in_both_passes_where_asked():
    for replay in (True, False):
        w = nn.Parameter(torch.ones(1000))
        opt = PerturbationSmoother(torch.optim.SGD([w], lr=0.0), replay_rng=replay)
        masks = []

        def closure(opt=opt, w=w, masks=masks):
            opt.zero_grad()
            out = nn.functional.dropout(w, 0.5)
            masks.append(out == 0)
            out.sum().backward()

        opt.step(closure)
        assert torch.equal(masks[0], masks[1]) == replay


def test_a_step_without_closure_names_what_can(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("smooth", "mask"))
    lab.make_closure(model, opt, 0)()
    with pytest.raises(
        RuntimeError, match=r"expects a closure.*opt\.step\(closure\).*OnePassSmoother"
    ):
        opt.step()
    with pytest.raises(ValueError, match=r"scaler\.step\(opt\)"):
        opt.step(scaler=torch.amp.GradScaler("cpu"))


def test_sparse_gradients_and_bad_radii_are_named():
    table = nn.Embedding(4, 2, sparse=True)
    opt = PerturbationSmoother(torch.optim.SparseAdam(table.parameters()))

    def closure():
        opt.zero_grad()
        table(torch.tensor([1])).sum().backward()

    with pytest.raises(TypeError, match=r"dense gradients.*sparse=False"):
        opt.step(closure)
    for rho in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="radius rho >= 0"):
            PerturbationSmoother(torch.optim.SGD(table.parameters()), rho)
    with pytest.raises(ValueError, match="even number, found 3"):
        Gaussian(3)
    with pytest.raises(ValueError, match="draws >= 1"):
        Gaussian(0)


def test_weights_rest_clean_between_two_pass_steps(lab):
    opt = gradreg.regularize(lab.stack(lab.make_net(), "SGD"), nn.Identity(), smooth=0.1)
    opt.eval()
    with opt.unperturbed():
        pass
    opt.train()
