"""Priors on the parameters' gradients: what they reject, and that the step is otherwise its own."""

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg
from gradreg import NormOutlier, PostVerificationMask, SignAgreement

NAN, INF = torch.nan, torch.inf


def sgd(params, prior, lr=1.0, **options):
    return PostVerificationMask(torch.optim.SGD(params, lr=lr, **options), gradient_prior=prior)


def reject(*rejected):
    """A prior of one's own: reject the gradients of these parameters."""
    return lambda gradients, indices: [torch.tensor(float(i not in rejected)) for i in indices]


def step(opt, *gradients):
    for p, g in zip(opt.parameters, gradients, strict=True):
        p.grad = None if g is None else torch.as_tensor(g, dtype=p.dtype).expand(p.shape).clone()
    opt.step()
    return opt.last


def zeros(*shapes, dtype=torch.float32):
    return [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]


# ---- What is applied ----------------------------------------------------------------------------


@given(seed=st.integers(0, 99), bad=st.sampled_from([NAN, INF, -INF, 1.0]))
def test_rejected_entries_are_exactly_zero_kept_ones_unchanged(seed, bad):
    generator = torch.Generator().manual_seed(seed)
    params = zeros((3, 2), (4,), ())
    factors = [torch.rand(p.shape, generator=generator).round() for p in params]
    opt = sgd(params, lambda gradients, indices: factors)
    gradients = [torch.randn(p.shape, generator=generator) for p in params]
    gradients[0].view(-1)[:2] = bad
    gradients[1][0] = bad
    step(opt, *gradients)
    for p, f, g in zip(params, factors, gradients, strict=True):
        kept = (f == 1) & g.isfinite()
        assert torch.equal(p.grad, torch.where(kept, g, 0))
        assert torch.equal(p.detach(), -torch.where(kept, g, 0))


@pytest.mark.parametrize("name", ["SGD", "SGD foreach", "AdamW"])
def test_keeping_everything_is_bit_identical_to_the_bare_optimizer(lab, name):
    models = [lab.make_net(), lab.make_net()]
    bare, wrapped = (lab.stack(model, name) for model in models)
    wrapped = PostVerificationMask(wrapped, torch.ones_like, gradient_prior=reject())
    assert lab.train(models[0], bare, range(4)) == lab.train(
        models[1], wrapped, range(4), observe=False
    )
    assert lab.same(lab.state_of(models[0], bare), lab.state_of(models[1], wrapped))
    assert wrapped.stats == gradreg.MaskStats(steps=4, skipped=0, kept=1.0, gradients=1.0)


def test_if_everything_is_rejected_nothing_moves():
    params = zeros((3,), (2,))
    opt = PostVerificationMask(
        torch.optim.AdamW(params, weight_decay=0.1), gradient_prior=reject(0)
    )
    assert step(opt, 1.0, 1.0) == gradreg.MaskStep(None, False, gradients=0.4)
    before = copy.deepcopy(opt.state_dict()["state"]), [p.tolist() for p in params]
    for gradients in ((1.0, None), (1.0, 0.0), (1.0, NAN)):
        assert step(opt, *gradients) == gradreg.MaskStep(None, True, gradients=0.0)
    assert repr(before[0]) == repr(opt.state_dict()["state"])
    assert before[1] == [p.tolist() for p in params]
    assert opt.stats == gradreg.MaskStats(4, 3, None, gradients=0.1)
    assert not step(opt, None, None).skipped  # no gradient, nothing to reject


def test_a_group_is_left_alone_where_asked_also_with_sparse_gradients():
    judged, free = zeros((2,), (2,))
    opt = sgd(
        [{"params": [judged]}, {"params": [free], "gradient_mask": False}],
        lambda gradients, indices: [torch.zeros(()) for _ in gradients],
    )
    assert step(opt, 1.0, 1.0).skipped
    opt.gradient_prior = lambda gradients, indices: [g > 0 for g in gradients]
    step(opt, torch.tensor([1.0, -1.0]), torch.tensor([1.0, -1.0]))
    assert judged.tolist() == [-1, 0]
    assert free.tolist() == [-1, 1]
    table = nn.Embedding(3, 2, sparse=True)
    opt = PostVerificationMask(
        torch.optim.SparseAdam(table.parameters()), gradient_prior=SignAgreement()
    )
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match=r"dense gradients.*\(3, 2\).*'gradient_mask': False"):
        opt.step()
    opt.param_groups[0]["gradient_mask"] = False
    before = table.weight.detach().clone()
    opt.step()
    assert not torch.equal(before, table.weight)


def test_complex_parameters_are_judged_by_their_real_view():
    [w] = zeros((2,), dtype=torch.complex64)
    opt = sgd([w], SignAgreement(momentum=1.0))
    step(opt, torch.tensor([1 + 1j, 1 - 1j]))
    step(opt, torch.tensor([1 - 1j, -1 - 1j]))
    assert w.tolist() == [-2 - 1j, -1 + 2j]
    w = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    opt = sgd([w], NormOutlier())
    (w.conj() * torch.tensor([1j, 2j])).real.sum().backward()  # a gradient that is a conjugate view
    opt.step()
    assert w.tolist() == [1 - 1j, 1 - 2j]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    params = zeros((4,), (2,), dtype=dtype)
    prior = NormOutlier(3.0, warmup=1, clip=True) & SignAgreement()
    opt = sgd(params, prior)
    step(opt, 1.0, 1.0)
    step(opt, torch.tensor([1.0, 1.0, -1.0, 1.0]), 6.0)
    assert params[0].tolist()[:3] == [-2.0, -2.0, -1.0]
    torch.testing.assert_close(params[1].detach(), torch.full((2,), -4.0, dtype=dtype))


def test_wrong_factors_and_no_function_are_named():
    for prior in (
        lambda gradients, indices: [],
        lambda gradients, indices: [torch.ones(5)] * len(gradients),
    ):
        with pytest.raises(ValueError, match="one factor a gradient, broadcastable"):
            step(sgd(zeros((3,)), prior), 1.0)
    with pytest.raises(TypeError, match=r"gradient_prior must be a function.*0\.5"):
        sgd(zeros((3,)), 0.5)


# ---- NormOutlier --------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), k=st.floats(0.5, 3), window=st.integers(1, 6), clip=st.booleans())
def test_norm_outlier_by_its_definition(seed, k, window, clip):
    generator = torch.Generator().manual_seed(seed)
    warmup = (window + 1) // 2
    prior, past = NormOutlier(k, window=window, warmup=warmup, clip=clip), {0: [], 1: [], 2: []}
    for _ in range(12):
        indices = [i for i in range(3) if torch.rand((), generator=generator) < 0.8]
        if not indices:
            continue
        scales = torch.rand(3, generator=generator, dtype=torch.float64) * 4
        gradients = [torch.randn(i + 2, generator=generator).double() * scales[i] for i in indices]
        if torch.rand((), generator=generator) < 0.2:
            gradients[0][0] = NAN
        factors = prior(gradients, indices)
        for i, g, factor in zip(indices, gradients, factors, strict=True):
            norm = g.norm()
            if norm.isfinite():
                expected = 1.0
                if len(past[i]) >= warmup:
                    limit = k * torch.stack(past[i][-window:]).median()
                    outside = (limit / norm).item() if clip else 0.0
                    expected = 1.0 if norm <= limit else outside
                past[i].append(norm)
            else:
                expected = 0.0
            assert factor.item() == pytest.approx(expected)


def test_a_spike_is_dropped_whole_and_a_lasting_change_is_followed():
    params = zeros((2,), (2,))
    opt = sgd(params, NormOutlier(3.0, window=6, warmup=3))
    for _ in range(6):
        step(opt, 1.0, 1.0)
    assert step(opt, 100.0, 1.0).gradients == 0.5
    assert params[0].tolist() == [-6, -6]
    assert params[1].tolist() == [-7, -7]
    kept = [step(opt, 100.0, 1.0).gradients for _ in range(4)]
    assert kept == [0.5, 0.5, 0.5, 1.0]


# ---- SignAgreement ------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), momentum=st.floats(0.05, 1))
def test_sign_agreement_by_its_definition(seed, momentum):
    generator = torch.Generator().manual_seed(seed)
    prior = SignAgreement(momentum=momentum)
    mean = torch.zeros(5).double()
    for _ in range(5):
        g = torch.randn(5, generator=generator).double()
        expected = (mean * g >= 0).double()
        torch.testing.assert_close(prior([g], [3])[0].double(), expected, rtol=1e-6, atol=0)
        mean = (1 - momentum) * mean + momentum * g
    torch.testing.assert_close(prior.means[3], mean)


def test_tiny_gradients_have_signs_and_infinite_ones_do_not_poison_the_mean():
    prior = SignAgreement(momentum=0.5)
    tiny = torch.tensor([1e-30, 1.0, 1.0])
    prior([tiny], [0])
    prior([torch.tensor([1e-30, NAN, INF])], [0])
    assert prior([torch.tensor([-1e-30, -1.0, 1.0])], [0])[0].tolist() == [0, 0, 1]
    assert prior.means[0].isfinite().all()


# ---- Life among the others ----------------------------------------------------------------------

PRIORS = {
    "norm": lambda: NormOutlier(1.1, window=4, warmup=2),
    "sign": SignAgreement,
    "both": lambda: NormOutlier(1.1, window=4, warmup=2, clip=True) & SignAgreement(),
    "either": lambda: reject(1) | (NormOutlier(1.1, window=4, warmup=2) & SignAgreement()),
}


def masked(lab, model, prior, name="AdamW"):
    opt = gradreg.PerturbationSmoother(lab.stack(model, name), rho=0.05)
    return PostVerificationMask(opt, torch.ones_like, gradient_prior=PRIORS[prior]())


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("prior", PRIORS)
def test_training_goes_on_bit_exactly_from_a_saved_state_and_from_copies(lab, prior):
    model = lab.make_net()
    opt = masked(lab, model, prior)
    for taken in range(4):
        saved = through_file({"model": model.state_dict(), "opt": opt.state_dict()})
        others = [copy.deepcopy((model, opt))]
        if prior != "either":  # a lambda isn't pickled
            others.append(pickle.loads(pickle.dumps((model, opt))))
        fresh = lab.make_net(seed=1)
        resumed = masked(lab, fresh, prior)
        fresh.load_state_dict(saved["model"])
        resumed.load_state_dict(saved["opt"])
        lab.train(model, opt, range(2 * taken, 2 * taken + 2))
        for other in [*others, (fresh, resumed)]:
            lab.train(*other, range(2 * taken, 2 * taken + 2))
            assert lab.same(lab.state_of(model, opt), lab.state_of(*other))
            assert other[1].stats == opt.stats
    assert opt.stats.gradients < 1


def test_what_loaded_a_state_goes_its_own_way():
    prior, other = (SignAgreement(momentum=1.0) & NormOutlier(warmup=1) for _ in range(2))
    prior([torch.ones(2)], [0])
    other.load_state_dict(prior.state_dict())
    other([-torch.ones(2)], [0])
    assert prior([torch.ones(2)], [0])[0].tolist() == [1, 1]


def test_a_state_of_another_window_is_named():
    prior = NormOutlier(window=20)
    prior([torch.ones(2)], [0])
    with pytest.raises(ValueError, match=r"expected 10 norms a parameter.*found 20"):
        NormOutlier(window=10).load_state_dict(prior.state_dict())


@pytest.mark.parametrize("order", [("mask", "one pass"), ("one pass", "mask")])
@pytest.mark.parametrize("closed", [True, False])
def test_the_order_of_levels_does_not_matter_nor_does_a_closure(lab, order, closed):
    results = []
    for levels in (order, ("mask", "one pass")):
        model = lab.make_net()
        opt = lab.stack(model, "SGD", levels)
        innermost = opt if isinstance(opt, PostVerificationMask) else opt.inner
        innermost.gradient_prior = PRIORS["both"]()
        for i in range(5):
            closure = lab.make_closure(model, opt, i)
            if closed or levels != order:
                opt.step(closure)
            else:
                closure()
                opt.step()
        assert innermost.stats.gradients < 1
        results.append(lab.state_of(model, opt))
    assert lab.same(*results)


def test_it_judges_the_unscaled_gradient_under_a_grad_scaler():
    results = []
    for scale in (None, 1024.0):
        w = nn.Parameter(torch.tensor([1.0, -2.0]))
        opt = sgd([w], NormOutlier(1.5, window=4, warmup=1), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", enabled=scale is not None, init_scale=scale or 1.0)
        for i, size in enumerate([1.0, 2.0, 1.0, 0.5, 8.0, 1.0]):

            def closure(size=size, opt=opt, scaler=scaler, w=w):
                opt.zero_grad()
                scaler.scale(size * w.square().sum()).backward()

            if i % 2:
                opt.step(closure, scaler=scaler)
            else:
                closure()
                scaler.step(opt)
            scaler.update(512.0 if scale else None)
        assert 0 < opt.stats.skipped < 4
        results.append((w.tolist(), opt.stats, opt.gradient_prior.norms.nan_to_num()))
    assert results[0][:2] == results[1][:2]
    torch.testing.assert_close(results[0][2], results[1][2])


def test_frozen_parameters_and_those_with_gradients_now_and_then():
    params = zeros((2,), (2,), (2,))
    params[1].requires_grad_(False)
    opt = sgd(params, NormOutlier(2.0, warmup=1) & SignAgreement(momentum=1.0))
    step(opt, 1.0, None, 5.0)
    step(opt, 1.0, None, None)
    step(opt, None, None, -5.0)
    step(opt, None, None, -5.0)
    step(opt, 3.0, None, 5.0)
    assert [p.tolist() for p in params] == [[-2, -2], [0, 0], [0, 0]]
    extra = nn.Parameter(torch.zeros(3))
    opt.add_param_group({"params": [extra]})
    step(opt, 1.0, None, None, 1.0)
    assert extra.tolist() == [-1, -1, -1]


def test_it_sees_what_accumulated_and_what_the_smoother_made_of_it():
    [w] = zeros((2,))
    seen = []

    def spy(gradients, indices):
        seen.append([g.tolist() for g in gradients])
        return [torch.ones(()) for _ in gradients]

    w.data.fill_(3.0)
    opt = PostVerificationMask(
        gradreg.PerturbationSmoother(torch.optim.SGD([w], lr=0.0), rho=2**0.5), gradient_prior=spy
    )

    def closure():
        opt.zero_grad()
        for _ in range(4):
            (0.5 * w.square().sum()).backward()

    opt.step(closure)
    assert seen == [[[16.0, 16.0]]]  # 4·(3 + 1), once


@pytest.mark.parametrize("prior", [name for name in PRIORS if name != "either"])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_distributed_checkpointing_teaches_nothing(lab, prior, lr):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = lab.make_net()
    opt = PostVerificationMask(
        torch.optim.Adam(model.parameters(), lr=lr), torch.ones_like, gradient_prior=PRIORS[prior]()
    )
    fresh = repr(opt.state_dict()["gradreg"])
    get_optimizer_state_dict(model, opt)
    assert repr(opt.state_dict()["gradreg"]) == fresh
    lab.train(model, opt, range(1))
    assert repr(opt.state_dict()["gradreg"]) != fresh
