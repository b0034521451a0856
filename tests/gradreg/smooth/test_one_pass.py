"""The one-pass smoother: clean steps, perturbed rest, and no way to lose either."""

import copy
import gc
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg import NullSpaceProjector, OnePassSmoother, regularize

seeds = st.integers(0, 2**31)


@given(seeds, st.floats(0, 2), st.floats(0, 0.99), st.booleans())
def test_the_trajectory_is_that_of_the_papers_equations(seed, rho, beta, closed):
    torch.manual_seed(seed)
    target, a = torch.randn(4).double(), torch.randn(4, 4).double()
    w = nn.Parameter(torch.randn(4).double())
    opt = OnePassSmoother(torch.optim.SGD([w], lr=0.01), rho, beta=beta)
    clean = w.detach().clone()
    perturbed, v = clean.clone(), torch.zeros(4).double()
    for _ in range(4):

        def closure():
            opt.zero_grad()
            loss = (a @ (w - target)).square().sum()
            loss.backward()
            return loss

        opt.step(closure) if closed else (closure(), opt.step())
        gradient = 2 * a.T @ (a @ (perturbed - target))
        v = beta * v + gradient
        clean = clean - 0.01 * gradient
        perturbed = clean - rho * v / v.norm()
        torch.testing.assert_close(w.detach(), perturbed)
        with opt.unperturbed():
            torch.testing.assert_close(w.detach(), clean)


def test_clean_weights_come_back_bit_by_bit_and_so_do_perturbed_ones(lab):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", ("project", "one pass", "mask"))
    lab.train(model, opt, range(3))
    resting = lab.state_of(model, opt)
    with opt.unperturbed():
        clean = lab.state_of(model, opt)
    assert not lab.same(resting, clean)
    assert lab.same(resting, lab.state_of(model, opt))
    opt.eval()
    opt.eval()
    with opt.unperturbed():
        assert lab.same(clean, lab.state_of(model, opt))
    assert lab.same(clean, lab.state_of(model, opt))
    with pytest.raises(RuntimeError, match=r"call opt\.train\(\)"):
        opt.step(lab.make_closure(model, opt, 3))
    opt.train()
    assert lab.same(resting, lab.state_of(model, opt))
    bare = opt.unwrap()
    assert bare is opt.base
    assert lab.same(clean, lab.state_of(model, bare))


def test_saved_with_clean_weights_it_goes_on_bit_exactly_after_train(lab):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("one pass",))
    lab.train(model, opt, range(3))
    with opt.unperturbed():
        saved = copy.deepcopy((opt.state_dict(), model.state_dict()))
    fresh = lab.make_net(seed=1)
    resumed = lab.stack(fresh, "Adam", ("one pass",))
    resumed.load_state_dict(saved[0])
    fresh.load_state_dict(saved[1])
    resumed.train()
    lab.train(model, opt, range(3, 6))
    lab.train(fresh, resumed, range(3, 6))
    assert lab.same(lab.state_of(model, opt), lab.state_of(fresh, resumed))


def test_weights_written_to_while_perturbed_are_an_error_not_a_loss(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("one pass",))
    lab.train(model, opt, range(2))
    state = copy.deepcopy(opt.state_dict())
    model.load_state_dict(lab.make_net(seed=5).state_dict())
    with pytest.raises(RuntimeError, match=r"with opt\.unperturbed\(\)"):
        lab.train(model, opt, range(2, 3))
    other = lab.make_net(seed=6)
    resumed = lab.stack(other, "SGD", ("one pass",))
    resumed.load_state_dict(state)
    with pytest.raises(RuntimeError, match="load the model together"):
        lab.train(other, resumed, range(2, 3))


def test_a_broken_closure_leaves_the_perturbed_weights(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("one pass",))
    lab.train(model, opt, range(2))
    before = lab.state_of(model, opt)

    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opt.step(broken)
    assert lab.same(before, lab.state_of(model, opt))
    lab.train(model, opt, range(2, 3))


@pytest.mark.parametrize("outside", [True, False])
def test_a_projector_measures_between_clean_weights(outside):
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 6).double())
    opt = torch.optim.AdamW([w], lr=0.05)
    for wrapper in (OnePassSmoother, NullSpaceProjector)[:: 1 if outside else -1]:
        opt = wrapper(opt, 0.5) if wrapper is OnePassSmoother else wrapper(opt, None, energy=1.0)
    noise = torch.randn(9, 2).double() @ torch.randn(2, 6).double()
    opt.protect(w, noise)
    before = noise @ w.detach().T
    x = torch.randn(8, 6).double()
    for _ in range(10):
        opt.zero_grad()
        (x @ w.T).square().sum().backward()
        opt.step()
    with opt.unperturbed():
        torch.testing.assert_close(noise @ w.detach().T, before)


def test_options_out_of_range_are_named():
    w = [nn.Parameter(torch.zeros(1))]
    with pytest.raises(ValueError, match="radius rho"):
        OnePassSmoother(torch.optim.SGD(w), -1.0)
    with pytest.raises(ValueError, match="0 <= beta < 1, found 1"):
        OnePassSmoother(torch.optim.SGD(w), beta=1.0)


def test_regularize_builds_it_where_asked():
    model = nn.Linear(2, 1)
    opt = regularize(
        torch.optim.SGD(model.parameters()), model, smooth={"one_pass": True, "rho": 0.7}
    )
    assert isinstance(opt, OnePassSmoother)
    assert opt.rho == 0.7


def growing(step):
    return 0.1 * (step % 3)


def weights_and_opt(lab, **options):
    model = lab.make_net()
    opt = OnePassSmoother(torch.optim.AdamW(lab.groups_of(model), lr=0.05), **options)
    return model, opt


def test_nested_contexts_and_an_exception_inside_put_the_perturbed_weights_back(lab):
    model, opt = weights_and_opt(lab)
    lab.train(model, opt, range(2))
    resting = lab.state_of(model, opt)
    with pytest.raises(ZeroDivisionError), opt.unperturbed():
        clean = lab.state_of(model, opt)
        with opt.unperturbed():
            assert lab.same(clean, lab.state_of(model, opt))
        assert lab.same(clean, lab.state_of(model, opt))
        raise ZeroDivisionError
    assert lab.same(resting, lab.state_of(model, opt))


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("clean", [True, False])
def test_saved_in_either_phase_a_radius_that_changes_goes_on_bit_exactly(lab, taken, clean):
    model, opt = weights_and_opt(lab, rho=growing)
    lab.train(model, opt, range(taken))
    if clean:
        opt.eval()
    saved = copy.deepcopy((opt.state_dict(), model.state_dict()))
    fresh, resumed = weights_and_opt(lab, rho=growing)
    resumed.load_state_dict(saved[0])
    fresh.load_state_dict(saved[1])
    twins = [
        (fresh, resumed),
        copy.deepcopy((model, opt)),
        pickle.loads(pickle.dumps((model, opt))),
    ]
    for twin, wrapper in [(model, opt), *twins]:
        wrapper.train()
        lab.train(twin, wrapper, range(taken, taken + 4))
        assert lab.same(lab.state_of(model, opt), lab.state_of(twin, wrapper))


def test_a_group_without_a_radius_rests_clean(lab):
    model = lab.make_net()
    groups = lab.groups_of(model)
    groups[1]["perturbation_rho"] = 0.0
    opt = OnePassSmoother(torch.optim.SGD(groups, lr=0.05), 0.5)
    lab.train(model, opt, range(2))
    resting = [p.detach().clone() for p in opt.parameters]
    offsets = []
    with opt.unperturbed():
        for p, q in zip(opt.parameters, resting, strict=True):
            assert torch.equal(p, q) == (p.ndim == 1)
            offsets.append((p - q).detach().flatten())
    assert torch.cat(offsets).norm().item() == pytest.approx(0.5, rel=1e-5)


def test_an_average_of_the_weights_is_one_of_the_clean_ones(lab):
    model, opt = weights_and_opt(lab)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    clean = []
    for step in range(3):
        lab.train(model, opt, range(step, step + 1))
        with opt.unperturbed():
            averaged.update_parameters(model)
            clean.append(model.head.weight.detach().clone())
    torch.testing.assert_close(averaged.module.head.weight.detach(), sum(clean) / 3)
    lab.train(model, opt, range(3, 5))


@pytest.mark.parametrize("write", ["in place", "other data", "other shape"])
def test_no_way_of_writing_to_perturbed_weights_goes_unnoticed(write):
    w = nn.Parameter(torch.ones(3))
    opt = OnePassSmoother(torch.optim.SGD([w], lr=0.1))

    def closure():
        opt.zero_grad()
        w.square().sum().backward()

    opt.step(closure)
    if write == "in place":
        with torch.no_grad():
            w.add_(1)
    else:
        w.data = torch.zeros(3 if write == "other data" else 4)
    with pytest.raises(RuntimeError, match=r"with opt\.unperturbed\(\)"):
        opt.step(closure)


def test_weights_may_be_moved_replaced_and_reshaped_where_that_is_safe():
    w, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    opt = OnePassSmoother(torch.optim.SGD([w, other], lr=0.1))

    def closure():
        opt.zero_grad()
        sum(p.square().sum() for p in opt.parameters).backward()

    opt.step(closure)
    w.data = w.data.clone()  # as when a model moves to another device: the same values
    opt.step(closure)
    with opt.unperturbed():
        w.data = torch.ones(4)
    assert torch.equal(w, torch.ones(4))
    opt.step(closure)
    opt.param_groups[0]["params"][1] = nn.Parameter(torch.ones(5))
    opt.step(closure)
    opt.load_state_dict(opt.state_dict())
    opt.step(closure)


def test_a_graph_kept_over_a_step_is_torchs_version_error():
    w = nn.Parameter(torch.ones(3))
    opt = OnePassSmoother(torch.optim.SGD([w], lr=0.1))
    loss = (w**3).sum()
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_between_steps_one_copy_and_the_running_gradient_are_all_that_is_held():
    def held():
        gc.collect()
        return sum(
            1
            for o in gc.get_objects()
            if type(o) in (torch.Tensor, nn.Parameter) and o.shape == (977,)
        )

    w = nn.Parameter(torch.ones(977))
    opt = OnePassSmoother(torch.optim.SGD([w], lr=0.1))
    before = held()
    for _ in range(2):
        opt.zero_grad()
        w.square().sum().backward()
        opt.step()
    opt.zero_grad()
    assert held() == before + 2


def test_complex_and_mixed_weights_rest_at_one_common_length():
    dtypes = [torch.complex64, torch.float64]
    params = [nn.Parameter(torch.randn(4, dtype=dtype)) for dtype in dtypes]
    opt = OnePassSmoother(torch.optim.SGD(params, lr=0.1), 0.5)
    sum(p.abs().square().sum() for p in params).backward()
    opt.step()
    resting = [p.detach().clone() for p in params]
    with opt.unperturbed():
        square = sum(
            (p - q).abs().square().sum().item() for p, q in zip(params, resting, strict=True)
        )
    assert square == pytest.approx(0.25)


def test_two_of_them_give_all_clean_weights_back_and_take_them_up_again():
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    w = nn.Parameter(start.clone())
    inner = OnePassSmoother(torch.optim.SGD([w], lr=0.0), 0.3)
    between = gradreg.PostVerificationMask(inner)
    opt = OnePassSmoother(between, 0.2)
    for _ in range(2):
        w.grad = torch.ones_like(w)
        opt.step()
    perturbed = w.detach().clone()
    torch.testing.assert_close((perturbed - start).norm().item(), 0.5)
    for _ in range(2):
        opt.eval()
        opt.eval()
        assert torch.equal(w, start)
        with opt.unperturbed():
            assert torch.equal(w, start)
        opt.train()
        assert torch.equal(w, perturbed)
        with opt.unperturbed():
            assert torch.equal(w, start)
            with opt.unperturbed():
                assert torch.equal(w, start)
        assert torch.equal(w, perturbed)
    w.grad = torch.ones_like(w)
    opt.step()
    assert opt.unwrap() is inner.inner
    assert torch.equal(w, start)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("between", ["steps", "eval", "unperturbed"])
def test_a_model_converted_in_mid_training_goes_on(dtype, between):
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    opt = OnePassSmoother(torch.optim.SGD(model.parameters(), lr=0.1), 0.1)
    before = [p.detach().clone() for p in model.parameters()]

    def step(opt):
        opt.zero_grad()
        model(torch.ones(3, 4, dtype=model.weight.dtype)).square().sum().backward()
        opt.step()

    step(opt)
    step(opt)
    with opt.unperturbed():
        before = [p.detach().clone() for p in model.parameters()]
    if between == "eval":
        opt.eval()
        model.to(dtype)
        opt.train()
    elif between == "unperturbed":
        with opt.unperturbed():
            model.to(dtype)
    else:
        model.to(dtype)
    with opt.unperturbed():
        for p, clean in zip(model.parameters(), before, strict=True):
            assert torch.equal(p, clean.to(dtype))
    for _ in range(2):
        step(opt)
    assert all(v.dtype == dtype for v in opt.get_extra_state()["velocity"].values())
    assert all(p.isfinite().all() for p in model.parameters())
