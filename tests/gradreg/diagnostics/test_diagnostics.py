"""Diagnostics: oscillation, sharpness and drift against closed forms and exact Hessians."""

import copy
import doctest
import importlib
import io
import math
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
import gradreg.diagnostics
from gradreg.diagnostics import GradientOscillation, RepresentationDrift, sharpness


def close(a, b, tolerance=1e-6):
    return a == b or (a is not None and b is not None and abs(a - b) <= tolerance * (1 + abs(b)))


# ---- GradientOscillation ------------------------------------------------------------------------


def feed(oscillation, parameter, gradients):
    for gradient in gradients:
        parameter.grad = None if gradient is None else torch.as_tensor(gradient)
        oscillation.update()
    return oscillation


@given(seed=st.integers(0, 1000), steps=st.integers(1, 6), decay=st.sampled_from([0.0, 0.5, 0.9]))
def test_oscillation_equals_numpy_on_the_list_of_gradients(seed, steps, decay):
    gradients = np.random.default_rng(seed).normal(size=(steps, 5))
    w = nn.Parameter(torch.zeros(5, dtype=torch.float64))
    found = feed(GradientOscillation([("w", w)], decay=decay), w, gradients).read()["w"]
    assert found.steps == steps
    if steps == 1:
        assert (found.cosine, found.flip_rate, found.signal_to_noise) == (None, None, None)
        return
    pairs = list(zip(gradients[1:], gradients[:-1], strict=True))
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
    assert close(found.cosine, np.mean(cosines))
    assert close(found.flip_rate, np.mean([(a * b < 0).mean() for a, b in pairs]))
    # The moving moments are those under weights that decay from the last gradient back.
    weights = np.array(
        [decay ** (steps - 1), *((1 - decay) * decay**i for i in range(steps - 2, -1, -1))]
    )
    mean = weights @ gradients
    variance = weights @ (gradients - mean) ** 2
    if decay:
        assert close(found.signal_to_noise, (mean**2).sum() / variance.sum())
    else:
        assert found.signal_to_noise == math.inf


def test_constant_alternating_and_zero_gradients():
    w = nn.Parameter(torch.zeros(2))
    constant = feed(GradientOscillation([("w", w)]), w, [[1.0, -2.0]] * 4).read()["w"]
    assert (close(constant.cosine, 1.0), constant.flip_rate) == (True, 0.0)
    assert constant.signal_to_noise == math.inf
    turning = feed(GradientOscillation([("w", w)]), w, [[1.0, -2.0], [-1.0, 2.0]] * 2).read()["w"]
    assert (close(turning.cosine, -1.0), turning.flip_rate) == (True, 1.0)
    still = feed(GradientOscillation([("w", w)]), w, [[0.0, 0.0]] * 3).read()["w"]
    assert (still.cosine, still.flip_rate, still.signal_to_noise) == (None, None, None)


@given(bad=st.sampled_from([None, [float("nan"), 1.0], [float("inf"), 1.0]]), at=st.integers(0, 4))
def test_missing_and_non_finite_gradients_are_left_out(bad, at):
    gradients = [[1.0, 2.0], [2.0, -1.0], [0.5, 0.5], [-1.0, 1.0]]
    w = nn.Parameter(torch.zeros(2))
    clean = feed(GradientOscillation([("w", w)]), w, gradients).read()
    spoilt = feed(
        GradientOscillation([("w", w)]), w, [*gradients[:at], bad, *gradients[at:]]
    ).read()
    assert clean == spoilt


def test_parameters_come_and_go_and_change_shape():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False)})
    oscillation = GradientOscillation(model)
    assert oscillation.read() == {}
    feed(oscillation, model["a"].weight, [torch.ones(2, 2)] * 2)
    model["b"] = nn.Linear(3, 1, bias=False)
    feed(oscillation, model["b"].weight, [torch.ones(1, 3)])
    assert {name: found.steps for name, found in oscillation.read().items()} == {
        "a.weight": 3,
        "b.weight": 1,
    }
    del model["a"]
    model["b"] = nn.Linear(4, 1, bias=False)
    feed(oscillation, model["b"].weight, [torch.ones(1, 4)] * 2)
    assert oscillation.read()["a.weight"].steps == 3
    assert oscillation.read()["b.weight"].steps == 2
    oscillation.reset()
    assert oscillation.read() == {}


def test_it_goes_on_from_a_saved_state():
    gradients = torch.randn(6, 4)
    w = nn.Parameter(torch.zeros(4))
    whole = feed(GradientOscillation([("w", w)]), w, gradients)
    first = feed(GradientOscillation([("w", w)]), w, gradients[:3])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = GradientOscillation([("w", w)])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert feed(resumed, w, gradients[3:]).read() == whole.read()


def test_a_state_that_was_taken_stays_as_it_was():
    w = nn.Parameter(torch.zeros(4))
    oscillation = feed(GradientOscillation([("w", w)]), w, torch.randn(2, 4))
    state = oscillation.state_dict()
    before = copy.deepcopy(state)
    feed(oscillation, w, torch.randn(2, 4))
    assert all(torch.equal(state["w"][k], before["w"][k]) for k in before["w"])


def test_attached_to_a_chain_it_sees_what_the_base_optimizer_used(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project", "smooth", "mask"))
    oscillation = GradientOscillation(model)
    handle = oscillation.attach(opt)
    lab.train(model, opt, range(3))
    used = {n: p.grad.clone() for n, p in model.named_parameters()}
    state = oscillation.state_dict()
    assert all(torch.equal(state[name]["previous"], used[name]) for name in used)
    assert {found.steps for found in oscillation.read().values()} == {3}
    x, y = lab.batch(3)

    def rejected():
        opt.zero_grad()
        out, _ = opt.verify(model(x), evidence=torch.full((6, 1), 99.0))
        loss = (out - y).square().mean()
        loss.backward()
        return loss

    opt.step(rejected)
    assert {found.steps for found in oscillation.read().values()} == {3}  # a skip isn't a step
    handle.remove()
    lab.train(model, opt, range(4, 5))
    assert {found.steps for found in oscillation.read().values()} == {3}


def test_a_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"0 <= decay < 1, found 1\.0"):
        GradientOscillation(nn.Linear(1, 1), decay=1.0)


# ---- sharpness ----------------------------------------------------------------------------------


def small_net(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(10, 3, dtype=torch.float64), torch.randn(10, 2, dtype=torch.float64)
    return model, lambda: (model(x) - y).square().mean()


def exact_hessian(model, loss):
    params = list(model.parameters())
    grads = torch.autograd.grad(loss(), params, create_graph=True)
    flat = torch.cat([g.flatten() for g in grads])
    rows = [
        torch.cat([h.flatten() for h in torch.autograd.grad(entry, params, retain_graph=True)])
        for entry in flat
    ]
    return torch.stack(rows)


@given(seed=st.integers(0, 1000))
def test_the_eigenvalue_is_the_exact_hessians(seed):
    model, loss = small_net(seed)
    exact = torch.linalg.eigvalsh(exact_hessian(model, loss))[-1].item()
    found = sharpness(loss, model.parameters(), tolerance=1e-8, max_products=200)
    assert found.converged
    assert close(found.eigenvalue, exact, 1e-7)
    loose = sharpness(loss, model.parameters(), tolerance=1e-2)
    assert loose.products < found.products
    # Some eigenvalue is within the residual of what was found, and none of T exceeds the largest.
    assert loose.eigenvalue <= exact * (1 + 1e-9)


@given(seed=st.integers(0, 1000), rho=st.sampled_from([0.0, 0.05, 0.5]))
def test_the_ascent_is_the_loss_one_step_up(seed, rho):
    model, loss = small_net(seed)
    found = sharpness(loss, model.parameters(), rho=rho)
    grads = torch.autograd.grad(loss(), list(model.parameters()))
    norm = torch.cat([g.flatten() for g in grads]).norm()
    before = loss().item()
    with torch.no_grad():
        for p, g in zip(model.parameters(), grads, strict=True):
            p.add_(rho * g / norm)
    assert close(found.ascent, loss().item() - before, 1e-9)
    assert close(found.loss, before, 1e-12)


def test_diagonal_and_indefinite_hessians():
    w = nn.Parameter(torch.ones(4, dtype=torch.float64))
    curvature = torch.tensor([-9.0, 2.0, 5.0, 5.0], dtype=torch.float64)
    found = sharpness(lambda: 0.5 * (curvature * w * w).sum(), [w])
    assert close(found.eigenvalue, 5.0)
    assert found.products <= 3  # three distinct eigenvalues
    assert found.converged
    concave = sharpness(lambda: -0.5 * (w * w).sum(), [w])
    assert close(concave.eigenvalue, -1.0)


def test_a_linear_loss_is_flat_and_a_stationary_point_has_no_ascent():
    w = nn.Parameter(torch.ones(3))
    flat = sharpness(w.sum, [w], rho=0.1)
    assert (flat.eigenvalue, flat.converged, flat.products) == (0.0, True, 0)
    assert close(flat.ascent, 0.1 * 3**0.5)
    v = nn.Parameter(torch.zeros(3))
    assert sharpness(lambda: 0.5 * (v * v).sum(), [v]).ascent == 0.0
    # One parameter enters linearly, one not at all.
    u = nn.Parameter(torch.ones(2))
    mixed = sharpness(lambda: (v * v).sum() + w.sum(), [u, v, w])
    assert close(mixed.eigenvalue, 2.0)


def test_too_few_products_are_told():
    model, loss = small_net(0)
    found = sharpness(loss, model.parameters(), tolerance=1e-10, max_products=2)
    assert (found.converged, found.products) == (False, 2)
    assert found.residual > 0


def test_nothing_is_left_behind_and_the_generator_decides():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1))
    x = torch.randn(12, 3)
    model(x).sum().backward()

    def loss():
        return model(x).square().mean()

    before = [t.clone() for t in [*model.parameters(), *model.buffers()]]
    grads = [(p.grad, p.grad.clone()) for p in model.parameters()]
    rng = torch.get_rng_state()
    with torch.no_grad():  # as a caller may have it
        found = [sharpness(loss, model.parameters()) for _ in range(2)]
    assert found[0] == found[1]
    assert torch.equal(rng, torch.get_rng_state())
    assert all(map(torch.equal, before, [*model.parameters(), *model.buffers()]))
    for p, (gradient, values) in zip(model.parameters(), grads, strict=True):
        assert p.grad is gradient
        assert torch.equal(gradient, values)
    other = sharpness(loss, model.parameters(), generator=torch.Generator().manual_seed(7))
    assert close(other.eigenvalue, found[0].eigenvalue, 1e-2)


def test_dropout_draws_the_same_masks_before_and_after_the_ascent():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.Dropout(), nn.Linear(16, 1)).double()
    x = torch.randn(12, 3, dtype=torch.float64)
    rises = [
        sharpness(lambda: model(x).square().mean(), model.parameters(), rho=rho).ascent / rho
        for rho in (1e-5, 1e-6)
    ]
    assert close(rises[0], rises[1], 1e-3)  # the gradient's norm; other masks would tower over it


def test_an_exception_in_the_loss_leaves_the_parameters():
    w = nn.Parameter(torch.ones(2))
    calls = []

    def loss():
        calls.append(1)
        if len(calls) == 2:
            raise ArithmeticError
        return (w * w).sum()

    with pytest.raises(ArithmeticError):
        sharpness(loss, [w], rho=1.0)
    assert w.tolist() == [1.0, 1.0]


def test_a_smoother_is_measured_at_its_clean_weights(lab):
    model = lab.make_net(torch.float64)
    opt = gradreg.OnePassSmoother(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5)
    lab.train(model, opt, range(3))
    x, y = lab.batch(0, torch.float64)

    def loss():
        return (model(x) - y).square().mean()

    with opt.unperturbed():
        clean = sharpness(loss, model.parameters())
        value = loss().item()
    assert clean.loss == value != sharpness(loss, model.parameters()).loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": -1.0}, r"rho >= 0, found -1\.0"),
        ({"tolerance": 0.0}, r"tolerance > 0 .* tolerance = 0\.0"),
        ({"max_products": 0}, r"max_products >= 1"),
        ({"parameters": []}, r"require a gradient, found none"),
        ({"loss": lambda w: w * w}, r"scalar tensor with its graph, found shape \(2,\)"),
        ({"loss": lambda w: (w * w).sum().detach()}, r"without a graph: .*not detached"),
        ({"loss": lambda w: None}, r"found None"),
        ({"loss": lambda w: [(w * w).sum().backward()]}, r"without backward, found one that"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    w = nn.Parameter(torch.ones(2))
    given_loss = arguments.pop("loss", lambda w: (w * w).sum())
    parameters = arguments.pop("parameters", [w])
    with pytest.raises(ValueError, match=message):
        sharpness(lambda: given_loss(w), parameters, **arguments)
    assert w.grad is None


# ---- RepresentationDrift ------------------------------------------------------------------------


def linear(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    return nn.Sequential(layer)


def orthogonal(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_identity_rotation_scale_and_offset_are_no_drift(seed, scale):
    torch.manual_seed(seed)
    probes = torch.randn(20, 5, dtype=torch.float64)
    model = linear(torch.randn(6, 5))
    drift = RepresentationDrift(model, probes)
    same = drift.measure()["0"]
    assert close(same.cka, 1.0, 1e-12)
    assert same.largest_angle < 1e-7
    turned = nn.Sequential(nn.Linear(5, 6).double())
    with torch.no_grad():
        turned[0].weight.copy_(scale * orthogonal(6, seed) @ model[0].weight)
    moved = drift.measure(turned)["0"]
    assert close(moved.cka, 1.0, 1e-12)
    assert moved.largest_angle < 1e-7


def test_unrelated_features_are_at_right_angles():
    probes = orthogonal(8, 0)[:, :4]
    probes = probes - probes.mean(0)
    probes = torch.linalg.qr(probes).Q  # centred, orthonormal columns
    eye = torch.eye(4, dtype=torch.float64)
    drift = RepresentationDrift(linear(eye[:2]), probes, energy=1.0)
    found = drift.measure(linear(eye[2:]))["0"]
    assert close(found.cka, 0.0, 1e-12)
    assert all(close(angle, math.pi / 2) for angle in found.angles)
    assert len(found.angles) == 2
    half = drift.measure(linear(eye[1:3]))["0"]
    assert [round(angle, 6) for angle in half.angles] == [0.0, round(math.pi / 2, 6)]
    assert close(half.cka, 0.5)
    narrow = drift.measure(linear(eye[:1]))["0"]  # of another width
    assert len(narrow.angles) == 1
    assert narrow.largest_angle < 1e-7
    assert close(narrow.cka, 1 / 2**0.5)


@given(angle=st.floats(1e-9, math.pi / 2))
def test_a_known_angle_is_found(angle):
    probes = torch.linalg.qr(orthogonal(8, 1)[:, :3] - orthogonal(8, 1)[:, :3].mean(0)).Q
    drift = RepresentationDrift(linear(torch.tensor([[1.0, 0.0, 0.0]])), probes)
    turned = linear(torch.tensor([[math.cos(angle), math.sin(angle), 0.0]], dtype=torch.float64))
    found = drift.measure(turned)["0"]
    assert abs(found.largest_angle - angle) < 1e-9
    assert close(found.cka, math.cos(angle) ** 2, 1e-9)


@given(seed=st.integers(0, 1000), width=st.integers(1, 6))
def test_cka_equals_the_formula_over_features(seed, width):
    torch.manual_seed(seed)
    probes = torch.randn(12, 4, dtype=torch.float64)
    a, b = linear(torch.randn(width, 4)), linear(torch.randn(3, 4))
    x, y = (m(probes).detach() - m(probes).detach().mean(0) for m in (a, b))
    expected = (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert close(RepresentationDrift(a, probes).measure(b)["0"].cka, expected.item(), 1e-9)


def test_features_that_do_not_vary_have_no_cka():
    drift = RepresentationDrift(linear(torch.zeros(2, 3)), torch.randn(5, 3, dtype=torch.float64))
    assert drift.measure()["0"] == gradreg.diagnostics.LayerDrift(None, ())
    assert drift.measure()["0"].largest_angle is None


def test_the_model_is_left_as_it_was_and_mark_moves_the_reference(lab):
    model = lab.make_net()
    model.head.eval()
    x, _ = lab.batch(0)
    before = [t.clone() for t in [*model.parameters(), *model.buffers()]]
    rng = torch.get_rng_state()
    drift = RepresentationDrift(model, x)
    assert set(drift.measure()) == {"conv", "norm", "head"}
    assert torch.equal(rng, torch.get_rng_state())
    assert all(map(torch.equal, before, [*model.parameters(), *model.buffers()]))
    assert (model.training, model.conv.training, model.head.training) == (True, True, False)
    assert not any(m._forward_hooks for m in model.modules())
    opt = lab.stack(model, "Adam")
    lab.train(model, opt, range(5))
    assert drift.measure()["head"].cka < 1 - 1e-6
    drift.mark()
    assert close(drift.measure()["head"].cka, 1.0, 1e-9)


def test_dropout_is_off_while_features_are_taken():
    model = nn.Sequential(nn.Dropout(), nn.Linear(3, 4))
    drift = RepresentationDrift(model, torch.randn(8, 3))
    torch.manual_seed(5)  # other masks than the reference's
    assert close(drift.measure()["1"].cka, 1.0, 1e-12)


def test_a_layer_that_runs_twice_and_probes_of_several_inputs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, a, b):
            return self.layer(a) + self.layer(b)

    probes = (torch.randn(6, 2), torch.randn(6, 2))
    assert close(RepresentationDrift(Twice(), probes).measure()["layer"].cka, 1.0)


def test_layers_and_probes_that_do_not_fit_are_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    probes = torch.randn(6, 3)
    with pytest.raises(ValueError, match=r"expected layers among 0, 2; found 'head'"):
        RepresentationDrift(model, probes, ["head"])
    with pytest.raises(ValueError, match="two probes at least, found 1"):
        RepresentationDrift(model, probes[:1])
    with pytest.raises(ValueError, match=r"0 < energy <= 1, found 0\.0"):
        RepresentationDrift(model, probes, energy=0.0)
    idle = nn.Sequential(nn.Linear(3, 4))
    idle.spare = nn.Module()
    idle.spare.layer = nn.Linear(1, 1)
    idle.forward = idle[0].__call__
    with pytest.raises(RuntimeError, match=r"spare\.layer didn't run"):
        RepresentationDrift(idle, probes)
    flat = nn.Sequential(nn.Flatten(0), nn.Linear(18, 4))
    with pytest.raises(RuntimeError, match=r"layer '1' gives \(4,\), expected samples first, 6"):
        RepresentationDrift(flat, probes)


# ---- Both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [m.name for m in pkgutil.iter_modules(gradreg.diagnostics.__path__, "gradreg.diagnostics.")],
)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_importing_gradreg_imports_neither_diagnostics_nor_testing():
    names = ("gradreg.diagnostics", "gradreg.testing")
    code = f"import sys, gradreg; print([m for m in sys.modules if m.startswith({names})])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
