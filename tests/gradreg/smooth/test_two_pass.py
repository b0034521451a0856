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
    model = lab.make_net()
    opt = gradreg.regularize(lab.stack(model, "SGD"), model, smooth=0.1)
    opt.eval()
    with opt.unperturbed():
        pass
    opt.train()


# ---- Closures that a second pass can't use -----------------------------------------------------


def plain(**options):
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    return w, PerturbationSmoother(torch.optim.SGD([w], lr=0.1), 0.1, **options)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_closure_over_the_last_micro_batch_alone_is_an_error_that_names_one_pass(set_to_none):
    w, opt = plain(every=2)

    def backward():
        (w**3).sum().backward()

    opt.zero_grad(set_to_none)
    backward()
    before = w.detach().clone()
    with pytest.raises(RuntimeError, match=r"micro-batches.*OnePassSmoother.*one_pass"):
        opt.step(backward)
    assert torch.equal(w, before)


def test_gradients_zeroed_before_the_step_rather_than_in_the_closure_are_not_added_up():
    w, opt = plain()
    opt.zero_grad()
    opt.step(lambda: (w**2).sum().backward())
    start = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(w.detach(), start - 0.2 * (start + 0.1 * start / start.norm()))


def test_a_graph_kept_from_before_the_perturbation_is_torchs_version_error():
    w, opt = plain()
    loss = (w**3).sum()

    def closure():
        opt.zero_grad()
        loss.backward(retain_graph=True)
        return loss

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        opt.step(closure)
    assert w.tolist() == [1.0, 2.0]


def test_an_exception_in_a_perturbation_leaves_the_weights():
    class Broken:
        def offsets(self, params, grads, rhos):
            yield [torch.ones_like(p) for p in params]
            raise ZeroDivisionError

    w, opt = plain(perturbation=Broken())

    def closure():
        opt.zero_grad()
        (w**3).sum().backward()

    with pytest.raises(ZeroDivisionError):
        opt.step(closure)
    assert w.tolist() == [1.0, 2.0]


# ---- Unusual parameters and gradients ----------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_first_gradient_that_is_not_finite_gives_the_bare_optimizers_step(bad):
    results = []
    for wrap in (lambda opt: opt, lambda opt: PerturbationSmoother(opt, 0.1)):
        w = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))]
        opt = wrap(torch.optim.Adam(w, lr=0.1))

        def closure(opt=opt, w=w):
            opt.zero_grad()
            (w[0] * torch.tensor([bad, 1.0])).sum().add(w[1].square().sum()).backward()

        opt.step(closure)
        results.append(torch.cat([p.detach() for p in w]))
    assert results[0].isfinite().tolist() == [False, True, True]
    torch.testing.assert_close(results[0], results[1], equal_nan=True)


def test_empty_groups_unused_and_frozen_parameters_are_passed_over():
    used, unused, frozen = (nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    groups = [{"params": []}, {"params": [used, unused]}, {"params": [frozen]}]
    opt = PerturbationSmoother(torch.optim.SGD(groups, lr=0.1), 0.1, every=2)

    def closure():
        opt.zero_grad()
        used.square().sum().backward()

    for _ in range(3):
        opt.step(closure)
    assert unused.tolist() == frozen.tolist() == [1.0, 1.0]
    assert not torch.equal(used, unused)


def test_parameters_of_several_dtypes_come_back_and_share_one_norm():
    params = [nn.Parameter(torch.ones(3, dtype=d)) for d in (torch.float64, torch.bfloat16)]
    opt = PerturbationSmoother(torch.optim.SGD(params, lr=0.0), 0.5)
    seen = []

    def closure():
        opt.zero_grad()
        seen.append([p.detach().clone() for p in params])
        sum(p.double().square().sum() for p in params).backward()

    opt.step(closure)
    for p, at in zip(params, seen[1], strict=True):
        assert torch.equal(p.detach(), torch.ones_like(p))
        torch.testing.assert_close(
            at.double() - 1, torch.full((3,), 0.5 / 6**0.5).double(), atol=4e-3, rtol=0
        )


def test_a_parameter_that_grows_or_is_replaced_between_steps_is_trained_on():
    w, opt = plain()

    def closure():
        opt.zero_grad()
        sum((p**2).sum() for p in opt.parameters).backward()

    opt.step(closure)
    w.data = torch.tensor([1.0, 2.0, 2.0])
    opt.step(closure)
    start = torch.tensor([1.0, 2.0, 2.0])
    torch.testing.assert_close(w.detach(), start - 0.2 * (start + 0.1 * start / 3))
    opt.param_groups[0]["params"][0] = other = nn.Parameter(start.clone())
    before = w.detach().clone()
    opt.step(closure)
    torch.testing.assert_close(other.detach(), start - 0.2 * (start + 0.1 * start / 3))
    assert torch.equal(w, before)
    opt.state_dict()


def test_a_compiled_model_is_not_compiled_again_at_every_step(lab):
    torch._dynamo.reset()
    compilations = []

    def backend(graph, inputs):
        compilations.append(graph)
        return graph.forward

    model, plain_model = lab.make_net(), lab.make_net()
    compiled = torch.compile(model, backend=backend)
    opt = PerturbationSmoother(lab.stack(model, "Adam"), 0.1, model=model, every=2)
    other = PerturbationSmoother(lab.stack(plain_model, "Adam"), 0.1, every=2)
    for step in range(6):
        x, y = lab.batch(step)
        for net, optimizer in ((compiled, opt), (plain_model, other)):

            def closure(net=net, optimizer=optimizer, x=x, y=y):
                optimizer.zero_grad()
                loss = (net(x) - y).square().mean()
                loss.backward()
                return loss

            optimizer.step(closure)
        if step == 1:
            warm = len(compilations)
    assert len(compilations) == warm
    assert lab.same(lab.state_of(model, opt), lab.state_of(plain_model, other))


class Branches(nn.Module):
    """Two kinds of input that share a head; a micro-batch may hold one of them."""

    def __init__(self):
        super().__init__()
        self.image, self.text, self.head = nn.Linear(4, 4), nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, image=None, text=None):
        parts = [
            branch(x) for branch, x in ((self.image, image), (self.text, text)) if x is not None
        ]
        return self.head(sum(parts)).square().mean()


@pytest.mark.parametrize("last", ["text", "image"])
@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("batches", [1, 2])
def test_the_last_micro_batch_may_leave_out_any_branch_and_is_an_error_all_the_same(
    last, set_to_none, batches
):
    torch.manual_seed(0)
    model = Branches()
    opt = PerturbationSmoother(torch.optim.SGD(model.parameters(), lr=0.1), 0.05)
    inputs = {"image": torch.randn(5, 4), "text": torch.randn(5, 3)}
    opt.zero_grad(set_to_none)
    (model(**inputs) / 2).backward()
    before = [p.detach().clone() for p in model.parameters()]

    def last_alone():
        for _ in range(batches):
            (model(**{last: inputs[last]}) / 2).backward()

    with pytest.raises(RuntimeError, match=r"adds to the gradients.*OnePassSmoother"):
        opt.step(last_alone)
    assert all(map(torch.equal, before, model.parameters()))
    for p in model.parameters():
        assert not p._backward_hooks

    def closure():
        opt.zero_grad(set_to_none)
        last_alone()

    for _ in range(2):
        opt.step(closure)


@pytest.mark.parametrize("zero", ["grad.data", "grad.detach()", "grad in no_grad"])
def test_gradients_may_be_zeroed_in_any_way(zero):
    w, opt = plain()
    other, reference = plain()

    def closure():
        if w.grad is not None:
            if zero == "grad.data":
                w.grad.data.zero_()
            elif zero == "grad.detach()":
                w.grad.detach().zero_()
            else:
                with torch.no_grad():
                    w.grad.zero_()
        (w**3).sum().backward()
        (w**2).sum().backward()

    def usual():
        reference.zero_grad()
        (other**3).sum().backward()
        (other**2).sum().backward()

    for _ in range(3):
        opt.step(closure)
        reference.step(usual)
    assert torch.equal(w, other)


def test_a_gradient_that_is_only_computed_before_zeroing_is_not_added():
    """As for a gradient penalty; what is done afterwards is still noticed."""
    w, opt = plain()

    def closure(zero=True):
        (gradient,) = torch.autograd.grad((w**3).sum(), w, create_graph=True)
        if zero:
            opt.zero_grad()
        (gradient.square().sum() + (w**2).sum()).backward()

    def by_hand():
        (w.grad,) = torch.autograd.grad((w**3).sum(), w)

    def of_another():
        torch.autograd.grad((w**3).sum(), w)
        opt.zero_grad(set_to_none=False)

    def zeroed_in_place():
        torch.autograd.grad((w**3).sum(), w)
        opt.zero_grad(set_to_none=False)
        (w**2).sum().backward()
        (w**2).sum().backward()

    for each in (closure, by_hand, by_hand, of_another, zeroed_in_place, zeroed_in_place, closure):
        opt.step(each)
    closure()
    with pytest.raises(RuntimeError, match="adds to the gradients"):
        opt.step(lambda: closure(zero=False))


@pytest.mark.parametrize("perturbation", [None, gradreg.Friendly()])
@pytest.mark.parametrize("every", [1, 2])
def test_a_model_converted_in_mid_training_trains_on(every, perturbation):
    model = nn.Linear(4, 2)
    opt = PerturbationSmoother(
        torch.optim.SGD(model.parameters(), lr=0.01), 0.1, perturbation, every=every
    )

    def closure():
        opt.zero_grad()
        model(torch.ones(3, 4, dtype=model.weight.dtype)).square().sum().backward()

    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        model.to(dtype)
        for _ in range(3):
            opt.step(closure)
        assert model.weight.isfinite().all()


@pytest.mark.parametrize("kind", ["sparse", "complex"])
def test_gradients_of_other_kinds_are_watched_too(kind):
    if kind == "sparse":
        layer = nn.Embedding(5, 2, sparse=True)
        groups = [
            {"params": layer.parameters(), "perturbation_rho": 0.0},
            {"params": [head := nn.Parameter(torch.ones(2))]},
        ]
    else:
        head = nn.Parameter(torch.ones(2, dtype=torch.complex64))
        groups = [{"params": [head]}]
    opt = PerturbationSmoother(torch.optim.SGD(groups, lr=0.1), 0.05)

    def closure(zero=True):
        if zero:
            opt.zero_grad()
        features = layer(torch.tensor([1, 2])) if kind == "sparse" else torch.ones(2)
        (features * head).abs().square().sum().backward()

    opt.step(closure)
    opt.step(closure)
    with pytest.raises(RuntimeError, match="adds to the gradients"):
        opt.step(lambda: closure(zero=False))
