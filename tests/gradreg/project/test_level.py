"""The projector, and what it is made of: unfolded features, streaming moments, subspaces."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg.project.level import NullSpaceProjector
from gradreg.project.subspace import SecondMoment, contrastive_basis, energy_basis
from gradreg.project.unfold import feature_chunks

NAMES = ["SGD", "SGD foreach", "Adam", "AdamW", "RMSprop"]
seeds = st.integers(0, 2**31)


def low_rank(n, d, rank, dtype=torch.float64):
    return torch.randn(n, rank, dtype=dtype) @ torch.randn(rank, d, dtype=dtype)


def projector_of(opt):
    while not isinstance(opt, NullSpaceProjector):
        opt = opt.inner
    return opt


# ---- Features and moments ---------------------------------------------------------------------


@st.composite
def layers(draw):
    n = draw(st.integers(0, 3))
    if n == 0:
        d, shape = draw(st.integers(1, 5)), draw(st.lists(st.integers(1, 3), max_size=3))
        return nn.Linear(d, 3, bias=False), (*shape, d)
    groups = draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(n)]
    dilation = [draw(st.integers(1, 2)) for _ in range(n)]
    stride = draw(st.integers(1, 2))
    padding = draw(st.sampled_from([0, 1, "valid"] + (["same"] if stride == 1 else [])))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1](
        2 * groups, 3 * groups, kernel, stride, padding, dilation, groups, False, mode
    )
    return conv, (2, 2 * groups, *([6, 5, 7][:n]))


@given(layers(), seeds, st.sampled_from([1, 2**22]))
def test_a_layer_equals_its_unfolded_linear_map(layer_and_shape, seed, limit):
    layer, shape = layer_and_shape
    layer.double()
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    features = torch.cat(list(feature_chunks(layer, x, limit)), dim=1)
    groups = features.shape[2]
    weight = layer.weight.view(groups, -1, features.shape[3])
    response = torch.einsum("bngd,god->bgon", features, weight)
    expected = layer(x)
    if isinstance(layer, nn.Linear):
        expected = expected.reshape(response.shape[0], response.shape[-1], -1).mT
    torch.testing.assert_close(response.flatten(1, 2), expected.flatten(2))


def test_an_unbatched_convolution_input_counts_as_a_batch_of_one():
    layer = nn.Conv1d(2, 3, 3)
    [features] = feature_chunks(layer, torch.ones(2, 8))
    assert features.shape == (1, 6, 1, 6)


@given(seeds, st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_the_streaming_moment_is_that_of_all_rows_at_once(seed, sizes):
    torch.manual_seed(seed)
    moment = SecondMoment(2, 4, torch.device("cpu"))
    rows, weights = [], []
    for size in sizes:
        x, w = torch.randn(size, 3, 2, 4), torch.rand(size)
        x[0, 0, 0, 0] = torch.nan
        part = SecondMoment(2, 4, torch.device("cpu"))
        part.add(x, w)
        moment.merge(part)
        rows.append(x.double().flatten(0, 1)[1:])
        weights.append(w.double().repeat_interleave(3)[1:])
    x, w = torch.cat(rows).numpy(), torch.cat(weights).numpy()
    expected = np.einsum("ngi,ngj,n->gij", x, x, w)
    np.testing.assert_allclose(moment.total.numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moment.mean.numpy(), expected / w.sum(), rtol=1e-12, atol=1e-12)


@given(seeds, st.floats(0, 1), st.integers(0, 6))
def test_the_energy_basis_is_the_leading_singular_vectors(seed, energy, cap):
    torch.manual_seed(seed)
    rows = torch.randn(30, 6).double() * torch.tensor([8, 4, 2, 1, 0.5, 0.25]).double()
    basis = energy_basis(rows.T @ rows, energy, cap)
    values, vectors = np.linalg.svd(rows.numpy())[1:]
    share = np.cumsum(values**2) / np.sum(values**2)
    rank = 0 if energy == 0 else min(int(np.searchsorted(share, energy - 1e-12)) + 1, cap)
    assert basis.shape == (6, rank)
    torch.testing.assert_close(basis.T @ basis, torch.eye(rank).double())
    leading = torch.from_numpy(vectors[:rank])
    torch.testing.assert_close(basis @ basis.T, leading.T @ leading)


@given(seeds, st.integers(1, 3))
def test_contrast_protects_noise_directions_even_under_stronger_signal(seed, rank):
    torch.manual_seed(seed)
    noise = low_rank(40, 8, rank)
    signal = 10 * low_rank(40, 8, 3) + 0.1 * noise
    n, s = noise.T @ noise / 40, signal.T @ signal / 40
    basis = contrastive_basis(n, s, 1.0, 8)
    assert basis.shape[1] <= rank
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]).double())
    if basis.shape[1] == rank:  # the span of the noise's own directions, not of filters for them
        left = noise - noise @ basis @ basis.T
        assert left.norm() < 1e-5 * noise.norm()


def test_directions_that_signal_dominates_are_left_alone():
    torch.manual_seed(0)
    shared = torch.zeros(5).double()
    shared[0] = 1
    only_noise = torch.zeros(5).double()
    only_noise[1] = 1
    noise = torch.outer(shared, shared) + torch.outer(only_noise, only_noise)
    signal = 4 * torch.outer(shared, shared)
    basis = contrastive_basis(noise, signal, 1.0, 5)
    torch.testing.assert_close(basis.abs(), only_noise[:, None])
    assert energy_basis(noise, 1.0, 5).shape[1] == 2
    assert contrastive_basis(noise * 0, signal, 1.0, 5).shape[1] == 0
    assert contrastive_basis(noise * 0, signal * 0, 1.0, 5).shape[1] == 0


# ---- 6. Projector exactness -------------------------------------------------------------------


@given(st.sampled_from(NAMES), seeds, st.sampled_from([torch.float32, torch.float64]))
def test_the_response_to_noise_is_unchanged_by_a_step(lab, name, seed, dtype):
    model = lab.make_net(dtype, seed)
    opt = lab.stack(model, name, ("project", "smooth"))
    opt.inner.refresh_every = 1
    lab.train(model, opt, range(3))
    for step in range(3, 6):
        before = {p: p.detach().clone() for p in (model.conv.weight, model.head.weight)}
        lab.train(model, opt, range(step, step + 1))
        for parameter, old in before.items():
            u = opt.inner.basis(parameter)
            rank = u.shape[-1]
            assert rank > 0
            torch.testing.assert_close(u.mT @ u, torch.eye(rank).double().expand(len(u), -1, -1))
            w1 = parameter.detach().double().reshape(len(u), -1, u.shape[1])
            w0 = old.double().reshape(w1.shape)
            bound = 4 * torch.finfo(dtype).eps * (w0.norm() + (w1 - w0).norm())
            assert ((w1 - w0) @ u).norm() <= bound
            assert (w1 - w0).norm() > 1e-4


@given(st.sampled_from(NAMES), seeds, st.floats(0, 1))
def test_the_complement_is_untouched_and_strength_scales_the_rest(lab, name, seed, strength):
    torch.manual_seed(seed)
    start = torch.randn(4, 6).double()
    noise = low_rank(20, 6, 2)
    x, y = torch.randn(8, 6).double(), torch.randn(8, 4).double()
    ends = []
    for project in (False, True):
        w = nn.Parameter(start.clone())
        opt = lab.OPTIMIZERS[name]([w])
        if project:
            opt = NullSpaceProjector(opt, None, energy=1.0, strength=strength)
            opt.protect(w, noise)
            u = opt.basis(w)[0]
        opt.zero_grad()
        (x @ w.T - y).square().sum().backward()
        opt.step()
        ends.append(w.detach() - start)
    bare, projected = ends
    assert u.shape == (6, 2)
    complement = torch.eye(6).double() - u @ u.T
    torch.testing.assert_close(projected @ complement, bare @ complement)
    torch.testing.assert_close(projected @ u, (1 - strength) * bare @ u, atol=1e-12, rtol=1e-7)


def test_the_response_stays_through_long_training_with_weight_decay(lab):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    opt = NullSpaceProjector(
        torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1), model, energy=1.0
    )
    noise = low_rank(64, 12, 3)
    with opt.observe_noise():
        model(noise)
    first = model[0]
    before = noise @ first.weight.detach().T
    for _ in range(50):
        opt.zero_grad()
        (model(torch.randn(32, 12).double()).square().sum()).backward()
        opt.step()
    drift = (noise @ first.weight.detach().T - before).norm() / before.norm()
    assert drift < 1e-12


@given(seeds, st.floats(0.1, 1.0))
def test_in_release_mode_no_unit_responds_more_strongly_to_any_noise(seed, lr):
    torch.manual_seed(seed)
    w = nn.Parameter(torch.randn(5, 6).double())
    opt = NullSpaceProjector(torch.optim.SGD([w], lr=lr), None, energy=1.0, mode="release")
    noise = low_rank(20, 6, 2)
    opt.protect(w, noise)
    u = opt.basis(w)[0]
    probes = torch.randn(50, 2).double() @ u.T
    before = probes @ w.detach().T
    w.grad = torch.randn(5, 6).double()
    start, wanted = w.detach() @ u, (w.detach() - lr * w.grad) @ u
    opt.step()
    after = probes @ w.detach().T
    assert (after.abs() <= before.abs() + 1e-12).all()
    assert (after * before >= -1e-12).all()
    # Each unit reaches the point of the segment from 0 to its response that is nearest to the
    # one the base optimizer went for.
    reached = w.detach() @ u
    points = torch.linspace(0, 1, 1001).double()[:, None, None] * start
    assert ((reached - wanted).norm(dim=-1) <= (points - wanted).norm(dim=-1) + 1e-12).all()


def test_clear_removes_the_present_response_once():
    torch.manual_seed(0)
    model = nn.Conv2d(4, 6, 3, groups=2).double()
    opt = NullSpaceProjector(torch.optim.SGD(model.parameters()), model, energy=1.0)
    x = low_rank(36, 8, 2).T.reshape(2, 4, 6, 6)
    with opt.observe_noise():
        model(x)
    before = model.weight.detach().clone()
    opt.clear()
    once = model.weight.detach().clone()
    opt.clear()
    u = opt.basis(model.weight)
    assert (once.view(2, 3, 18) @ u).norm() < 1e-13
    assert not torch.equal(before, once)
    torch.testing.assert_close(once, model.weight.detach())


@pytest.mark.parametrize("outside", [True, False])
def test_clear_acts_on_the_clean_weights_of_a_one_pass_smoother(outside):
    torch.manual_seed(0)
    model = nn.Linear(6, 3).double()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    if outside:
        opt = gradreg.OnePassSmoother(NullSpaceProjector(opt, model, energy=1.0), rho=0.5)
    else:
        opt = NullSpaceProjector(gradreg.OnePassSmoother(opt, rho=0.5), model, energy=1.0)
    opt = gradreg.PostVerificationMask(opt)
    noise = low_rank(6, 8, 2).T
    with opt.observe_noise():
        model(noise)
    model(torch.randn(5, 6).double()).square().sum().backward()
    opt.step()
    perturbed = model.weight.detach().clone()
    opt.clear()
    assert (model.weight - perturbed).norm() > 0.1
    with opt.unperturbed():
        assert (model.weight @ noise.T).norm() < 1e-12
    assert (model.weight @ noise.T).norm() > 1e-3


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_protect_works_along_any_dimension(dim):
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 5, 6).double())
    opt = NullSpaceProjector(torch.optim.Adam([w]), None, energy=1.0)
    noise = low_rank(10, w.shape[dim], 2)
    opt.protect(w, noise, dim)
    before = torch.tensordot(w.detach(), noise, dims=([dim], [1]))
    old = w.detach().clone()
    w.grad = torch.randn_like(w)
    opt.step()
    torch.testing.assert_close(torch.tensordot(w.detach(), noise, dims=([dim], [1])), before)
    assert not torch.equal(w, old)


def test_parameters_in_another_memory_format():
    torch.manual_seed(0)
    model = nn.Conv2d(4, 6, 3).double().to(memory_format=torch.channels_last)
    assert not model.weight.is_contiguous()
    opt = NullSpaceProjector(torch.optim.SGD(model.parameters(), lr=0.1), model, energy=0.9)
    x = torch.randn(2, 4, 6, 6).double()
    with opt.observe_noise():
        model(x)
    before = model.weight.detach().clone()
    model(x).square().sum().backward()
    opt.step()
    u = opt.basis(model.weight)[0]
    assert ((model.weight.detach() - before).reshape(6, -1) @ u).norm() < 1e-13


def test_half_precision_parameters_are_projected_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(32, 32, bias=False).bfloat16()
    opt = NullSpaceProjector(torch.optim.SGD(model.parameters(), lr=1.0), model)
    with pytest.warns(UserWarning, match="bfloat16 parameter.*adds up"), opt.observe_noise():
        model(torch.randn(64, 32).bfloat16())
    before = model.weight.detach().clone()
    model.weight.grad = torch.randn(32, 32).bfloat16()
    opt.step()
    u, change = opt.basis(model.weight)[0], (model.weight.detach() - before).double()
    bound = 4 * torch.finfo(torch.bfloat16).eps * (before.double().norm() + change.norm())
    assert (change @ u).norm() <= bound


# ---- Observation ------------------------------------------------------------------------------


def test_an_observation_leaves_no_trace_but_what_was_learnt(lab):
    model = nn.Sequential(lab.make_net(), nn.Dropout(0.5))
    opt = lab.stack(model, "SGD", ("project", "smooth", "mask"))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [t.clone() for t in [*model.state_dict().values(), torch.get_rng_state()]]
    with opt.observe_noise():
        out = model(lab.batch(0)[0])
    after = [*model.state_dict().values(), torch.get_rng_state()]
    assert lab.same(before, after)
    assert not out.requires_grad
    assert all((p.grad == 1).all() for p in model.parameters())
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()


def test_an_observation_that_breaks_off_teaches_nothing(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project",))

    def broken():
        with opt.observe_noise():
            model(lab.batch(0)[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert not any(m._forward_pre_hooks for m in model.modules())
    with pytest.raises(KeyError, match="nothing was observed"):
        opt.basis(model.head.weight)


def test_leaving_with_nothing_observed_is_an_error(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project",))
    with (
        pytest.raises(RuntimeError, match=r"observe_noise\(\).*conv, head.*eager"),
        opt.observe_noise(),
    ):
        copy.deepcopy(model)(lab.batch(0)[0])


def test_a_mask_picks_the_noise_entries_of_a_batch():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 6).double()
    keep = torch.tensor([True, False, True, False])
    bases = []
    for rows, mask in ((x, keep), (x[[0, 2]], None), (x.flatten(0, 1), keep)):
        model = nn.Linear(6, 2).double()
        opt = NullSpaceProjector(torch.optim.SGD(model.parameters()), model)
        with opt.observe_noise(mask):
            model(rows)
        bases.append(opt.basis(model.weight)[0])
    for other in bases[1:]:
        torch.testing.assert_close(bases[0] @ bases[0].T, other @ other.T)
    with pytest.raises(ValueError, match=r"mask \(batch,\).*5"), opt.observe_noise(torch.ones(5)):
        model(x)


def test_signal_features_steer_the_choice():
    torch.manual_seed(0)
    model = nn.Linear(6, 2, bias=False).double()
    opt = NullSpaceProjector(torch.optim.SGD(model.parameters()), model, energy=1.0)
    noise, signal = torch.zeros(8, 6).double(), torch.zeros(8, 6).double()
    noise[:, 0], noise[:, 1] = torch.randn(8), torch.randn(8)
    signal[:, 0] = 10 * torch.randn(8)
    with opt.observe_noise():
        model(noise)
    assert opt.basis(model.weight).shape == (1, 6, 2)
    with opt.observe_signal():
        model(signal)
    u = opt.basis(model.weight)[0]
    assert u.shape == (6, 1)
    assert u[1].abs() > 0.9


def test_forgetting_and_refreshing():
    model = nn.Linear(2, 1, bias=False).double()
    opt = NullSpaceProjector(
        torch.optim.SGD(model.parameters(), lr=0.0), model, forgetting=0.0, refresh_every=3
    )
    axes = torch.eye(2).double()

    def observe(i):
        with opt.observe_noise():
            model(axes[i : i + 1])

    def step():
        model.weight.grad = torch.ones(1, 2).double()
        opt.step()
        return opt.basis(model.weight)[0].abs().flatten().tolist()

    observe(0)
    assert step() == [1, 0]
    observe(1)
    assert [step(), step()] == [[1, 0], [0, 1]]  # that of the next step, the fourth


def test_layers_are_chosen_by_name_and_bad_choices_named(lab):
    model = lab.make_net()

    def watched(**options):
        return list(NullSpaceProjector(lab.stack(model, "SGD"), model, **options)._layers.by_name)

    assert watched() == ["conv", "head"]
    assert watched(include=["h*"]) == ["head"]
    assert watched(exclude=["head"]) == ["conv"]
    frozen = torch.optim.SGD([model.head.weight])
    assert list(NullSpaceProjector(frozen, model)._layers.by_name) == ["head"]
    with pytest.raises(ValueError, match=r"'encoder\.\*'.*conv, head"):
        watched(include=["encoder.*"])
    nn.utils.parametrizations.weight_norm(model.head)
    with pytest.raises(ValueError, match="'head' is parametrized"):
        watched()
    assert watched(exclude=["head"]) == ["conv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": 1.5}, "energy"),
        ({"strength": -1}, "strength"),
        ({"max_fraction": math.nan}, "max_fraction"),
        ({"forgetting": 2}, "forgetting"),
        ({"refresh_every": 0}, "refresh_every"),
        ({"mode": "hold"}, "'freeze' or 'release', found 'hold'"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        NullSpaceProjector(torch.optim.SGD([torch.zeros(1)]), None, **options)


def test_protect_names_what_does_not_fit():
    model = nn.Linear(6, 2, bias=False)
    opt = NullSpaceProjector(torch.optim.SGD(model.parameters()), model)
    with pytest.raises(ValueError, match="no such parameter"):
        opt.protect(torch.zeros(2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"\(n, 6\).*\(1, 2\)"):
        opt.protect(model.weight, torch.zeros(1, 2))
    opt.protect(model.weight, torch.zeros(1, 2), dim=0)
    with pytest.raises(ValueError, match="already observed along dim 0"):
        opt.protect(model.weight, torch.zeros(1, 6))


def test_tied_weights_learn_from_both_layers():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    opt = gradreg.NullSpaceProjector(torch.optim.SGD(model.parameters()), model)
    with opt.observe_noise():
        model(torch.randn(5, 3))
    assert opt._weights[model[0].weight].noise.count == 10


def test_a_step_inside_autocast_is_projected_as_exactly():
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(16, 16))
    opt = NullSpaceProjector(torch.optim.SGD([w], lr=1.0), None)
    opt.protect(w, torch.randn(40, 16))
    before = w.detach().clone()
    w.grad = torch.randn(16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        opt.step()
    change = (w.detach() - before).double()
    bound = 4 * torch.finfo(torch.float32).eps * (before.norm() + change.norm())
    assert (change @ opt.basis(w)[0]).norm() <= bound


def test_global_hook_tables_are_left_empty(lab):
    model = lab.make_net()
    opt = gradreg.PerturbationSmoother(lab.stack(model, "SGD", ("project",)))
    lab.train(model, opt, range(2))
    assert not nn.modules.module._has_any_global_hook()


def test_a_layer_called_by_keyword_is_an_error_not_an_omission():
    model = nn.Linear(3, 1)
    opt = NullSpaceProjector(torch.optim.SGD(model.parameters()), model)
    with pytest.raises(TypeError, match="positional"), opt.observe_noise():
        model(input=torch.ones(1, 3))
