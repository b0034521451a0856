"""The projector's options, and the layers, optimizers and copies that it has to live with."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg.project.level import NullSpaceProjector
from gradreg.project.one_time_warnings import IDLE_STEPS

seeds = st.integers(0, 2**31)


def sgd(parameters, **options):
    return torch.optim.SGD(parameters, **{"lr": 0.1, **options})


def low_rank(n, d, rank):
    return torch.randn(n, rank).double() @ torch.randn(rank, d).double()


# ---- Every optimizer --------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [("project",), ("project", "smooth"), ("project", "one pass")])
@pytest.mark.parametrize("mode", ["freeze", "release"])
def test_the_bound_holds_under_every_optimizer(lab, optimizer_name, levels, mode):
    model = lab.make_net(torch.float64)
    opt = lab.stack(model, optimizer_name, levels)
    if (optimizer_name, levels[-1]) in lab.REFUSED:
        with pytest.raises(TypeError, match=lab.REFUSED[optimizer_name, levels[-1]]):
            lab.train(model, opt, range(1))
        return
    projector = opt if len(levels) == 1 else opt.inner
    projector = projector if isinstance(projector, NullSpaceProjector) else projector.inner
    projector.mode, projector.refresh_every = mode, 1
    lab.train(model, opt, range(4))
    for step in range(4, 7):
        opt.eval() if "one pass" in levels else None
        before = {p: p.detach().clone() for p in projector._weights}
        opt.train() if "one pass" in levels else None
        lab.train(model, opt, range(step, step + 1))
        opt.eval() if "one pass" in levels else None
        assert before
        for parameter, old in before.items():
            u = projector.basis(parameter)
            assert u.shape[-1] > 0
            w0, w1 = (t.detach().reshape(len(u), -1, u.shape[1]) for t in (old, parameter))
            bound = 4 * torch.finfo(torch.float64).eps * (w0.norm() + (w1 - w0).norm())
            if mode == "freeze":
                assert ((w1 - w0) @ u).norm() <= bound
            else:
                assert ((w1 @ u).abs() <= (w0 @ u).abs() + bound).all()
        opt.train() if "one pass" in levels else None


def test_the_bound_holds_between_ascents_of_looksam(lab):
    model = lab.make_net(torch.float64)
    projector = lab.stack(model, "AdamW", ("project",))
    projector.refresh_every = 1
    opt = gradreg.PerturbationSmoother(projector, rho=0.1, every=3)
    for step in range(7):
        before = {p: p.detach().clone() for p in model.parameters()}
        lab.train(model, opt, range(step, step + 1))
        for parameter in projector._weights:
            u, change = projector.basis(parameter), parameter.detach() - before[parameter]
            bound = 4 * torch.finfo(torch.float64).eps * (before[parameter].norm() + change.norm())
            assert (change.reshape(len(u), -1, u.shape[1]) @ u).norm() <= bound


@given(seeds)
def test_float32_weights_started_at_zero_keep_the_bound(seed):
    """Where nothing is large but the step itself, which lies nearly wholly in the subspace."""
    torch.manual_seed(seed)
    w = nn.Parameter(torch.zeros(20, 64))
    opt = NullSpaceProjector(sgd([w], lr=1.0), None, energy=1.0)
    noise = low_rank(30, 64, 8).float()
    opt.protect(w, noise)
    w.grad = 1e4 * torch.randn(20, 30) @ noise + torch.randn(20, 64)
    opt.step()
    u, change = opt.basis(w)[0], w.detach().double()
    assert (change @ u).norm() <= 4 * torch.finfo(torch.float32).eps * change.norm()


def test_reduced_matrix_precision_is_not_trusted():
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(64, 64))
    opt = NullSpaceProjector(sgd([w], lr=1.0), None)
    opt.protect(w, torch.randn(40, 64))
    before = w.detach().clone()
    w.grad = torch.randn(64, 64)
    previous = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        opt.step()
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = previous
    assert torch.float64 in next(iter(opt._weights.values()))._copies
    change = (w.detach() - before).double()
    bound = 4 * torch.finfo(torch.float32).eps * (before.norm() + change.norm())
    assert (change @ opt.basis(w)[0]).norm() <= bound


# ---- bias -------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 2), st.sampled_from(["freeze", "release"]))
def test_with_bias_the_whole_response_to_noise_is_kept(seed, kind, mode):
    torch.manual_seed(seed)
    layer = (nn.Linear(8, 5), nn.Conv1d(8, 4, 1, groups=2), nn.Conv2d(2, 3, 2))[kind].double()
    shape = ((6, 8), (2, 8, 3), (3, 2, 2, 2))[kind]
    opt = NullSpaceProjector(
        torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1),
        layer,
        energy=1.0,
        max_fraction=1.0,
        bias=True,
        mode=mode,
    )
    direction = torch.randn(shape[1:]).double()
    noise = torch.randn(shape[0], *[1] * (len(shape) - 1)).double() * direction
    noise = noise if kind != 1 else noise[..., :1].expand(shape)  # one feature vector a sample
    with opt.observe_noise():
        before = layer(noise)
    start = [p.detach().clone() for p in layer.parameters()]
    for _ in range(3):
        opt.zero_grad()
        layer(torch.randn(shape).double()).square().sum().backward()
        opt.step()
    after = layer(noise)
    if mode == "freeze":
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
        assert not torch.equal(layer.weight, start[0])
    else:
        assert (after.abs() <= before.abs() + 1e-12).all()
    plain = NullSpaceProjector(sgd(layer.parameters()), layer)
    with plain.observe_noise():
        layer(noise)
    assert plain.basis(layer.weight).shape[1] == opt.basis(layer.weight).shape[1] - 1


def test_biases_that_cannot_be_a_feature_are_refused_and_frozen_ones_left_out():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match="'1' shares its weight with another layer"):
        NullSpaceProjector(sgd(model.parameters()), model, bias=True)
    model[1].bias = None  # now its constant feature is 0
    opt = NullSpaceProjector(sgd(model.parameters()), model, bias=True, energy=1.0)
    with opt.observe_noise():
        model(torch.randn(4, 3))
    total = opt._weights[model[0].weight].noise.total[0]
    assert total[3, 3] == 4
    deconv = nn.ConvTranspose1d(3, 3, 1)
    with pytest.raises(ValueError, match="transposed convolution ''"):
        NullSpaceProjector(sgd(deconv.parameters()), deconv, bias=True)
    deconv.bias.requires_grad_(False)
    NullSpaceProjector(sgd(deconv.parameters()), deconv, bias=True)
    layer = nn.Linear(3, 2)
    opt = NullSpaceProjector(sgd(layer.parameters()), layer, bias=True)
    with opt.observe_noise():
        layer(torch.ones(2, 3))
    layer.bias.requires_grad_(False)
    layer.weight.grad = torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="'' has either its weight or its bias frozen"):
        opt.step()


# ---- Strength, rank ---------------------------------------------------------------------------


def test_a_groups_own_strength_replaces_the_projectors():
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(4, 6).double()) for _ in range(3)]
    groups = [
        {"params": [weights[0]]},
        {"params": [weights[1]], "projection_strength": 0.0},
        {"params": [weights[2]], "projection_strength": 0.25},
    ]
    opt = NullSpaceProjector(sgd(groups), None, energy=1.0)
    noise = low_rank(10, 6, 2)
    for w in weights:
        opt.protect(w, noise)
        w.grad = torch.ones_like(w)
    before = [w.detach().clone() for w in weights]
    opt.step()
    for w, old, strength in zip(weights, before, [1.0, 0.0, 0.25], strict=True):
        u = opt.basis(w)[0]
        torch.testing.assert_close((w - old) @ u, -0.1 * (1 - strength) * w.grad @ u)
    off = weights[1].detach().clone()
    opt.clear()
    assert torch.equal(off, weights[1])
    assert (weights[2] @ opt.basis(weights[2])[0]).norm() < 1e-13
    opt.param_groups[0]["projection_strength"] = 2.0
    with pytest.raises(ValueError, match=r"projection_strength <= 1.*2\.0"):
        opt.step()


def test_a_fixed_rank_replaces_the_energy():
    rows = torch.randn(50, 8).double()
    for rank, fraction, expected in ((3, 0.5, 3), (6, 0.5, 4), (0, 1.0, 0)):
        w = nn.Parameter(torch.zeros(2, 8).double())
        opt = NullSpaceProjector(sgd([w]), None, energy=0.1, rank=rank, max_fraction=fraction)
        opt.protect(w, rows)
        assert opt.basis(w).shape[-1] == expected


@pytest.mark.parametrize("max_size", [1024, 0])
@pytest.mark.parametrize("equal", [False, True])
def test_a_much_quieter_kind_of_noise_counts_as_much_where_asked(max_size, equal):
    layer = nn.Linear(6, 2, bias=False).double()
    opt = NullSpaceProjector(
        sgd(layer.parameters()), layer, max_size=max_size, sketch_size=6, equal_energy=equal
    )
    loud, quiet = torch.zeros(50, 6).double(), torch.zeros(3, 6).double()
    loud[:, 0], quiet[:, 1] = 100 * torch.randn(50), torch.randn(3)
    for noise in (loud, quiet, 0 * quiet):
        with opt.observe_noise():
            layer(noise)
    u = opt.basis(layer.weight)[0]
    assert u.shape[1] == 1 + equal
    assert u[0].abs().max() == pytest.approx(1.0)
    assert u[1].abs().max() == pytest.approx(float(equal))


@pytest.mark.parametrize("dominance", [0.0, 0.5, 0.9])
def test_dominance_decides_how_much_signal_a_protected_direction_may_carry(dominance):
    model = nn.Linear(3, 1, bias=False).double()
    opt = NullSpaceProjector(
        sgd(model.parameters()), model, energy=1.0, max_fraction=1.0, dominance=dominance
    )
    eye = torch.eye(3).double()
    with opt.observe_noise():
        model(eye)
    with opt.observe_signal():  # shares of noise: 1, 0.8, 0.2
        model(eye * torch.tensor([0.0, 0.5, 2.0]))
    assert opt.basis(model.weight).shape[-1] == {0.0: 3, 0.5: 2, 0.9: 1}[dominance]


# ---- Layers -----------------------------------------------------------------------------------


def test_a_layer_used_twice_shows_both_inputs():
    layer = nn.Linear(3, 3, bias=False)
    opt = NullSpaceProjector(sgd(layer.parameters()), layer)
    with opt.observe_noise():
        layer(layer(torch.randn(5, 3)))
    assert opt._weights[layer.weight].noise.count == 10


def test_frozen_weights_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    opt = NullSpaceProjector(sgd(model.parameters()), model, bias=True)
    model[0].requires_grad_(False)
    with opt.observe_noise():
        model(torch.randn(6, 4))
    before = [p.detach().clone() for p in model[0].parameters()]
    model(torch.randn(6, 4)).sum().backward()
    opt.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model[0].parameters(), strict=True))


def test_lazy_layers_are_observed_once_they_have_a_weight():
    model = nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyConvTranspose1d(2, 3))
    opt = NullSpaceProjector(sgd(model.parameters()), model)
    with pytest.raises(RuntimeError, match="'0' has no weight yet"), opt.observe_noise():
        model(torch.ones(2, 3, 5))
    model(torch.ones(2, 3, 5))
    with opt.observe_noise():
        model(torch.ones(2, 3, 5))
    assert opt.basis(model[0].weight).shape == (1, 5, 1)


def test_a_weight_replaced_or_reshaped_after_observation_is_named():
    model = nn.Sequential(nn.Linear(3, 2))
    opt = NullSpaceProjector(sgd(model.parameters()), model)
    x = torch.ones(1, 3)
    with opt.observe_noise():
        model(x)
    weight = model[0].weight
    model[0].weight = nn.Parameter(weight.detach().clone())
    model(x).sum().backward()
    with pytest.raises(RuntimeError, match="layer '0' was replaced"):
        opt.step()
    with pytest.raises(RuntimeError, match="layer '0' was replaced"), opt.observe_noise():
        model(x)
    model[0].weight = weight
    weight.data = torch.ones(1, 3)
    weight.grad = torch.ones(1, 3)
    with pytest.raises(RuntimeError, match=r"'0' has shape \(1, 3\), and had \(2, 3\)"):
        opt.step()


@pytest.mark.parametrize("observe", ["never", "before", "after"])
def test_features_given_for_attention_and_embeddings_replace_observed_ones(observe):
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {"embed": nn.Embedding(5, 8), "attend": nn.MultiheadAttention(8, 2, batch_first=True)}
    ).double()
    opt = NullSpaceProjector(torch.optim.AdamW(model.parameters(), lr=0.1), model, energy=1.0)
    noise = low_rank(12, 8, 2)
    packed, table = model["attend"].in_proj_weight, model["embed"].weight

    def run(tokens):
        x = model["embed"](torch.tensor([tokens]))
        return model["attend"](x, x, x)[0]

    if observe == "before":
        with opt.observe_noise():
            run([4])
    opt.protect(packed, noise)
    opt.protect(table, torch.eye(5)[:2], dim=0)  # two tokens that are noise
    if observe == "after":
        with opt.observe_noise():
            run([4])
    assert opt.basis(table).shape[-1] == opt.basis(packed).shape[-1] == 2
    before = noise @ packed.detach().T
    rows = table.detach().clone()
    run([0, 1, 2, 3, 4]).square().sum().backward()
    opt.step()
    torch.testing.assert_close(noise @ packed.detach().T, before)
    torch.testing.assert_close(table.detach()[:2], rows[:2])
    assert not torch.equal(table[2:], rows[2:])


def test_fused_inference_paths_do_not_hide_layers():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    opt = NullSpaceProjector(sgd(model.parameters()), model)
    with opt.observe_noise():
        model(torch.randn(2, 3, 8))
    assert opt.basis(model.linear1.weight).shape[-1] > 0
    assert opt.basis(model.linear2.weight).shape[-1] > 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_eager_model_is_observed_while_the_compiled_one_is_trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    compiled = torch.compile(model, backend="eager")
    opt = NullSpaceProjector(torch.optim.AdamW(model.parameters(), lr=0.1), compiled, energy=1.0)
    noise = low_rank(9, 6, 2)
    before, start = noise @ model[0].weight.detach().T, model[0].weight.detach().clone()
    for _ in range(3):
        with opt.observe_noise():
            model(noise)
        opt.zero_grad()
        compiled(torch.randn(5, 6).double()).square().sum().backward()
        opt.step()
    torch.testing.assert_close(noise @ model[0].weight.detach().T, before)
    assert not torch.allclose(model[0].weight, start)


# ---- Idleness ---------------------------------------------------------------------------------


def test_a_projector_that_never_projects_says_so_once():
    w = nn.Parameter(torch.zeros(2, 2))

    def steps(opt, n, gradient=1.0):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(n):
                w.grad = torch.full((2, 2), gradient)
                opt.step()
        return [str(c.message) for c in caught]

    opt = NullSpaceProjector(sgd([w]), None)
    rate = opt.param_groups[0]["lr"]
    opt.param_groups[0]["lr"] = 0.0  # as distributed checkpointing does to create state
    assert steps(opt, 1, gradient=0.0) == []
    opt.param_groups[0]["lr"] = rate
    assert steps(opt, IDLE_STEPS - 1) == []
    [message] = steps(opt, 2 * IDLE_STEPS)
    assert f"{IDLE_STEPS} steps and projected nothing" in message
    for quiet in ({"strength": 0.0}, {"max_fraction": 0.0}):
        assert steps(NullSpaceProjector(sgd([w]), None, **quiet), 2 * IDLE_STEPS) == []
    busy = NullSpaceProjector(sgd([w]), None)
    busy.protect(w, torch.ones(1, 2))
    assert steps(busy, 2 * IDLE_STEPS) == []


# ---- Release ----------------------------------------------------------------------------------


def warnings_of_steps(opt, model, n=2):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(n):
            opt.zero_grad()
            model(torch.randn(4, 3)).square().sum().backward()
            opt.step()
    return [str(c.message) for c in caught]


def observed(mode="release", signal=False, **options):
    """Return a net of two layers, and its projector, which has observed noise."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    opt = NullSpaceProjector(sgd(model.parameters()), model, mode=mode, **options)
    with opt.observe_noise():
        model(torch.eye(3)[:1])
    if signal:
        with opt.observe_signal():
            model(torch.eye(3)[1:])
    return model, opt


def test_release_without_a_signal_warns_once_and_names_the_layers():
    model, opt = observed()
    [message] = warnings_of_steps(opt, model)
    assert "layer '0', the weight of layer '2'" in message
    assert "observe_signal" in message
    model, opt = observed(exclude=["0"])
    [message] = warnings_of_steps(opt, model)
    assert "'2'" in message
    assert "'0'" not in message


def test_release_warns_of_nothing_that_it_can_know_or_leaves_alone():
    for options in ({"mode": "freeze"}, {"signal": True}, {"strength": 0.0}):
        model, opt = observed(**options)
        assert warnings_of_steps(opt, model) == []
    model = nn.Linear(3, 2, bias=False)
    opt = NullSpaceProjector(sgd(model.parameters()), None, mode="release")
    opt.protect(model.weight, torch.eye(3)[:1])  # chosen by hand, and can't be compared
    assert warnings_of_steps(opt, model) == []


@pytest.mark.parametrize("signal", [False, True])
def test_release_takes_a_signal_inside_the_noise_away_unless_it_is_observed(signal):
    """Noise along one axis, to which the signal is added ten times as strong."""
    torch.manual_seed(0)
    layer = nn.Linear(2, 1, bias=False)
    opt = NullSpaceProjector(sgd(layer.parameters()), layer, mode="release", energy=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opt.observe_noise():
            layer(torch.tensor([[1.0, 0.0]]))
        if signal:
            with opt.observe_signal():
                layer(torch.tensor([[10.0, 0.0]]))
        before = layer.weight[0, 0].item()
        for _ in range(20):
            opt.zero_grad()
            (layer(torch.tensor([[1.0, 0.0]])) - 5).square().sum().backward()
            opt.step()
    learnt = layer.weight[0, 0].item()
    assert (learnt == pytest.approx(5, abs=0.1)) if signal else abs(learnt) <= abs(before)


def test_observing_where_no_layer_is_trained_names_the_cause():
    """As in test-time adaptation of affine parameters only."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    base = torch.optim.SGD(model[1].parameters(), lr=0.1)
    opt = gradreg.regularize(base, model, smooth=0.05, project=0.9)
    with (
        pytest.raises(RuntimeError, match=r"no layer to watch: none of the 2 .*project=None"),
        opt.observe_noise(),
    ):
        model(torch.randn(3, 4))
    assert model[1].num_batches_tracked == 0
