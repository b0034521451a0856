"""The mask: exactly zero gradient where rejected, priors and their algebra, counts."""

import math
import pickle
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import gradreg
from gradreg import MedianOutlier, PostVerificationMask, WeakAmplitude

finite = st.floats(-10, 10, width=32)
wild = st.one_of(finite, st.sampled_from([float("nan"), float("inf"), float("-inf")]))


def mask(prior=None, **options):
    return PostVerificationMask(torch.optim.SGD([torch.zeros(1)], lr=0.1), prior, **options)


def tensors(elements, size):
    return st.lists(elements, min_size=size, max_size=size).map(torch.tensor)


# ---- 4. Mask exactness ------------------------------------------------------------------------


@given(gradient=tensors(wild, 12), evidence=tensors(wild, 4), data=st.data())
def test_rejected_gradient_is_exactly_zero_and_kept_gradient_unchanged(gradient, evidence, data):
    gradient, evidence = gradient.view(4, 3), evidence.view(4, 1)
    opt = mask(WeakAmplitude(0.5, 5.0))
    x = torch.randn(4, 3, requires_grad=True)
    out, keep = opt.verify(x, evidence)
    assert out.data_ptr() == x.data_ptr()
    assert torch.equal(out, x)
    out.backward(gradient)
    expected_keep = (evidence.abs() >= 0.5) & (evidence.abs() <= 5.0) & evidence.isfinite()
    assert torch.equal(keep, expected_keep.float())
    rows = expected_keep.flatten()
    assert torch.equal(x.grad[~rows], torch.zeros_like(x.grad[~rows]))
    # Bit for bit, NaN included.
    assert torch.equal(x.grad[rows].view(torch.int32), gradient[rows].view(torch.int32))

    order = torch.tensor(data.draw(st.permutations(range(4))))
    shuffled = x.detach()[order].requires_grad_()
    out, keep_shuffled = mask(WeakAmplitude(0.5, 5.0)).verify(shuffled, evidence[order])
    out.backward(gradient[order])
    assert torch.equal(keep_shuffled, keep[order])
    assert torch.equal(shuffled.grad.view(torch.int32), x.grad[order].view(torch.int32))


@pytest.mark.parametrize("accepting", [torch.ones_like, ~MedianOutlier(), lambda e: e / e])
def test_evidence_that_is_not_finite_is_rejected_whatever_the_prior_says(accepting):
    evidence = torch.tensor([torch.nan, torch.inf, -torch.inf])
    _, keep = mask(accepting).verify(torch.ones(3), evidence)
    assert keep.tolist() == [0, 0, 0]


@given(weights=tensors(st.floats(0, 1, width=32), 6), soft=st.booleans())
def test_soft_weights_scale_rounded_ones_select(weights, soft):
    opt = mask(lambda _: weights, soft=soft)
    x = torch.ones(6, requires_grad=True)
    out, keep = opt.verify(x)
    out.sum().backward()
    expected = weights if soft else (weights >= 0.5).float()
    assert torch.equal(keep, expected)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype):
    opt = mask(WeakAmplitude(0.0, 1.0))
    x = torch.ones(4, 2, dtype=dtype, requires_grad=True)
    out, keep = opt.verify(x, torch.tensor([[0.5], [2.0], [0.5], [torch.nan]]))
    out.sum().backward()
    assert keep.dtype == dtype
    assert x.grad[:, 0].tolist() == [1, 0, 1, 0]


def test_under_no_grad_verify_judges_but_neither_counts_nor_learns():
    prior = WeakAmplitude(0.0, 1.0, adaptive=0.5)
    opt = mask(prior)
    with torch.no_grad():
        _, keep = opt.verify(torch.ones(2), torch.tensor([9.0, 0.5]))
    assert keep.tolist() == [0, 1]
    assert prior.quantile is None
    opt.step()
    assert opt.last == gradreg.MaskStep(kept=None, skipped=False)
    assert opt.stats == gradreg.MaskStats(steps=0, skipped=0, kept=None)


def test_zero_grad_between_verify_and_backward_forgets_nothing():
    w = torch.ones(2, requires_grad=True)
    opt = PostVerificationMask(torch.optim.SGD([w], lr=0.1), WeakAmplitude(0.0, 1.0))
    for _ in range(2):
        out, _ = opt.verify(w * 2, torch.tensor([9.0, 9.0]))
        opt.zero_grad()
        out.sum().backward()
        opt.step()
        assert opt.last.skipped
    assert w.tolist() == [1, 1]


def test_kept_fractions_are_summed_over_a_step_and_averaged_over_steps():
    opt = mask(WeakAmplitude(0.0, 1.0))
    opt.verify(torch.ones(4), torch.tensor([0.5, 9, 9, 9]))
    opt.verify(torch.ones(2), torch.tensor([9.0, 9]))
    opt.step()
    assert opt.last == gradreg.MaskStep(kept=1 / 6, skipped=False)
    opt.verify(torch.ones(1), torch.tensor([0.5]))
    opt.step()
    assert opt.stats == gradreg.MaskStats(steps=2, skipped=0, kept=(1 / 6 + 1) / 2)


def test_a_sample_with_nan_does_not_poison_the_weights():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    opt = PostVerificationMask(torch.optim.SGD(model.parameters(), lr=0.1), torch.ones_like)
    x = torch.randn(4, 3)
    x[1, 2], x[3, 0] = torch.nan, torch.inf

    def gradient(rows):
        opt.zero_grad()
        clean, finite_samples = opt.verify_input(x[rows])
        assert clean.isfinite().all()
        out, keep = opt.verify(model(clean))
        out.square().sum().backward()
        opt.end_step()
        return model.weight.grad, finite_samples, keep

    all_rows, finite_samples, keep = gradient([0, 1, 2, 3])
    assert finite_samples.tolist() == [True, False, True, False]
    assert keep[:, 0].tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(all_rows, gradient([0, 2])[0])
    clean, finite_samples = opt.verify_input(x[[1, 3]])
    assert clean.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert not finite_samples.any()


def test_shapes_that_do_not_fit_and_missing_priors_are_named():
    with pytest.raises(ValueError, match=r"shape \(8, 4\).*\(8, 4, 160\).*unsqueeze"):
        mask(torch.ones_like).verify(torch.ones(8, 4, 160), torch.ones(8, 4))
    with pytest.raises(ValueError, match="found no prior"):
        mask().verify(torch.ones(1))
    with pytest.raises(TypeError, match=r"prior must be a function.*0\.3"):
        mask(0.3)


# ---- Where it may act -------------------------------------------------------------------------


def test_on_activations_the_rejected_features_teach_the_layers_below_nothing():
    torch.manual_seed(0)
    below, above = torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)
    opt = PostVerificationMask(
        torch.optim.SGD([*below.parameters(), *above.parameters()], lr=0.1),
        WeakAmplitude(0.0, 1.0),
    )
    x, amplitude = torch.randn(4, 3), torch.tensor([[0.5], [9.0], [0.5], [9.0]])

    def gradients(rows, masked):
        opt.zero_grad()
        hidden = torch.tanh(below(x[rows]))
        if masked:
            hidden, _ = opt.verify(hidden, amplitude[rows])
        above(hidden).square().sum().backward()
        opt.end_step()
        return below.weight.grad.clone(), above.weight.grad.clone()

    everything, kept_alone = gradients([0, 1, 2, 3], True), gradients([0, 2], False)
    torch.testing.assert_close(everything[0], kept_alone[0])
    # Above the mask all samples count: that gradient doesn't pass through it.
    torch.testing.assert_close(everything[1], gradients([0, 1, 2, 3], False)[1])


@given(losses=tensors(wild, 6), limit=st.floats(0.1, 5), soft=st.sampled_from([0.0, 0.5]))
def test_on_losses_that_judge_themselves_the_mean_over_the_kept_is_never_nan(losses, limit, soft):
    losses = losses.abs().requires_grad_()
    prior = WeakAmplitude(0.0, limit, soft=soft)
    verified, keep = mask(prior).verify(losses)
    mean = torch.where(keep > 0, verified, 0).sum() / keep.sum().clamp_min(1)
    mean.backward()
    expected = prior(losses.detach()) * losses.detach().isfinite()
    assert torch.equal(keep, expected)
    torch.testing.assert_close(losses.grad, keep / max(keep.sum().item(), 1))
    assert mean.isfinite()
    if soft == 0 and expected.any():
        torch.testing.assert_close(mean, losses.detach()[expected > 0].mean())


# ---- Faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [lambda: WeakAmplitude(0.0, 1.0, adaptive=0.5), MedianOutlier, lambda: torch.ones_like],
)
def test_an_empty_batch_is_no_step_and_teaches_nothing(build):
    prior = build()
    model = torch.nn.Linear(3, 2)
    opt = PostVerificationMask(torch.optim.AdamW(model.parameters()), prior)

    def step(n):
        opt.zero_grad()
        batch, finite_samples = opt.verify_input(torch.ones(n, 3))
        assert finite_samples.shape == (n,)
        out, keep = opt.verify(model(batch), evidence=torch.full((n, 1), 0.5))
        (out.square().sum() / keep.sum().clamp_min(1)).backward()
        opt.step()

    step(0)
    assert opt.last == gradreg.MaskStep(kept=0.0, skipped=True)
    assert opt.base.state == {}
    assert not getattr(prior, "quantile", torch.tensor(torch.nan)).isfinite()
    step(4)
    assert opt.last == gradreg.MaskStep(kept=1.0, skipped=False)
    assert all(p.isfinite().all() for p in model.parameters())


@given(gradient=tensors(wild, 8), evidence=tensors(wild, 4))
def test_complex_tensors(gradient, evidence):
    gradient = torch.complex(*gradient.view(2, 4))
    x = torch.ones(4, dtype=torch.complex64, requires_grad=True)
    out, keep = mask(WeakAmplitude(0.5, 5.0)).verify(x, evidence)
    out.backward(gradient)
    assert keep.dtype == torch.float32
    kept = keep > 0
    assert torch.equal(x.grad[~kept], torch.zeros_like(x.grad[~kept]))
    bits = [torch.view_as_real(g[kept]).view(torch.int32) for g in (x.grad, gradient)]
    assert torch.equal(*bits)
    spectrum = torch.tensor([0.3 + 0.4j, 3 + 4j, complex(float("nan"), 0)], requires_grad=True)
    assert mask(WeakAmplitude(0.0, 1.0)).verify(spectrum)[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64]
)
@pytest.mark.parametrize("prior", [WeakAmplitude(0.5, 1.5), MedianOutlier(1.0), lambda e: e > 0.5])
def test_evidence_of_another_type(dtype, prior):
    x = torch.ones(5, requires_grad=True)
    out, keep = mask(prior).verify(x, torch.tensor([1, 1, 1, 0, 0]).to(dtype))
    out.sum().backward()
    assert keep.dtype == torch.float32
    assert torch.equal(x.grad, keep)
    assert keep.tolist() == [1, 1, 1, 0, 0]


def test_boolean_evidence_needs_no_prior():
    x = torch.ones(2, 3, requires_grad=True)
    verdict = torch.tensor([[True], [False]])
    out, keep = mask().verify(x, verdict)
    out.sum().backward()
    assert keep.tolist() == [[1], [0]]
    assert x.grad.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert mask(~WeakAmplitude(0.5, 2.0)).verify(x, verdict)[1].tolist() == [[1], [0]]
    judged = mask().verify(x, verdict, prior=~WeakAmplitude(0.5, 2.0))[1]
    assert judged.tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("prior", "shape", "kept"),
    [
        (lambda e: torch.ones(4, 1), (4, 1), [1, 0, 1, 1]),
        (lambda e: torch.ones(4), (4,), [1, 0, 1, 1]),
        (lambda e: torch.ones(1, 3), (4, 3), [1, 1, 0]),
        (lambda e: torch.ones(2, 4, 3), (2, 4, 3), None),
        (lambda e: torch.ones(()), (4,), 0),
        (lambda e: torch.ones(5), (5,), [1] * 5),  # no relation: the prior's word alone
    ],
)
def test_one_bad_entry_of_the_evidence_rejects_the_weights_it_stands_behind(prior, shape, kept):
    evidence = torch.ones(4, 3)
    evidence[1, 2] = torch.nan
    _, keep = mask(prior).verify(torch.ones(shape), evidence)
    if kept is None:
        assert torch.equal(keep, evidence.isfinite().float().expand(2, 4, 3))
    else:
        assert keep.squeeze().tolist() == kept


def test_verify_input_takes_single_numbers_and_whole_volumes():
    opt = mask(torch.ones_like)
    clean, finite_samples = opt.verify_input(torch.tensor([torch.nan, 2.0, 3.0]))
    assert clean.tolist() == [2, 2, 3]
    assert finite_samples.tolist() == [False, True, True]
    assert opt.verify(torch.ones(3, 2))[1].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert opt.verify_input(torch.ones(0, 2, 2))[0].shape == (0, 2, 2)


# ---- Silence ------------------------------------------------------------------------------------


def idle(steps, prior=torch.ones_like, lr=0.1):
    w = torch.zeros(1, requires_grad=True)
    opt = PostVerificationMask(torch.optim.SGD([w], lr=lr), prior)
    return opt, run(opt, steps)


def run(opt, steps):
    """Return the number of warnings in some steps."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            opt.step()
    assert all("nothing was verified" in str(w.message) for w in caught)
    return len(caught)


def test_a_mask_that_never_verifies_anything_says_so_once():
    opt, warned = idle(99)
    assert warned == 0
    again = pickle.loads(pickle.dumps(opt))
    assert run(opt, 300) == 1
    assert run(again, 300) == 1
    assert run(pickle.loads(pickle.dumps(again)), 300) == 0
    assert idle(300, prior=None)[1] == 0


def test_a_mask_that_verified_once_does_not_warn_nor_one_resumed_from_it():
    opt, _ = idle(0)
    opt.verify(torch.ones(1))
    opt.step()
    assert run(opt, 300) == 0
    resumed, _ = idle(0)
    resumed.load_state_dict(opt.state_dict())
    assert run(resumed, 300) == 0


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_the_step_that_creates_optimizer_state_does_not_count(lr):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = torch.nn.Linear(1, 1)
    opt = PostVerificationMask(torch.optim.SGD(model.parameters(), lr=lr), torch.ones_like)
    for _ in range(5):
        get_optimizer_state_dict(model, opt)
    assert run(opt, 99) == 0
    assert run(opt, 1) == 1


# ---- Cost ---------------------------------------------------------------------------------------


class Reads(TorchDispatchMode):
    """Counts the times that a number is read out of a tensor, for which a GPU has to be waited."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("gradient_prior", [None, gradreg.NormOutlier() & gradreg.SignAgreement()])
def test_a_step_reads_nothing_but_its_decision(monkeypatch, gradient_prior):
    prior = WeakAmplitude(0.0, 1.0, adaptive=0.5) & gradreg.Agreement() & MedianOutlier()
    w = torch.ones(4, 3, requires_grad=True)
    opt = PostVerificationMask(
        gradreg.PerturbationSmoother(torch.optim.SGD([w], lr=0.1)),
        prior & gradreg.BandEnergy(0, 1, 2, 0.1) & gradreg.Entropy(1.0),
        gradient_prior=gradient_prior,
    )
    decisions = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: decisions.append(t) or tolist(t))

    def closure():
        opt.zero_grad()
        batch, _ = opt.verify_input(torch.ones(4, 3))
        out, _ = opt.verify(w * batch, torch.tensor([[0.1, 0.2, 0.4]] * 4))
        out.sum().backward()

    opt.step(closure)  # the first may look for distributed checkpointing
    decisions.clear()
    with Reads() as reads:
        opt.step(closure)
    assert opt.last.kept > 0
    assert reads.count == 0
    assert len(decisions) == 1


# ---- Priors -----------------------------------------------------------------------------------


@given(
    evidence=tensors(finite, 8),
    low=st.floats(0, 2),
    width=st.floats(0.1, 5),
    soft=st.floats(0, 1),
)
def test_weak_amplitude_keeps_its_range_and_falls_off_within_its_edges(evidence, low, width, soft):
    high = low + width
    keep = WeakAmplitude(low, high, soft=soft)(evidence.double())
    amplitude = evidence.double().abs()
    inside = (amplitude >= low) & (amplitude <= high)
    outside = (amplitude > high * (1 + soft)) | (amplitude < low * (1 - soft))
    assert ((keep >= 0) & (keep <= 1)).all()
    assert (keep[inside] > 1 - 1e-9).all()
    assert (keep[outside] < 1e-9).all()
    nearer = WeakAmplitude(low, high, soft=soft)(amplitude.sort().values)
    above = amplitude.sort().values >= high
    assert (nearer[above].diff() <= 0).all()


@given(st.lists(tensors(wild, 5), min_size=1, max_size=6))
def test_an_adaptive_limit_follows_the_running_quantile_inside_its_bounds(batches):
    prior = WeakAmplitude(0.5, 4.0, adaptive=0.6, momentum=0.3)
    expected = None
    for evidence in batches:
        prior.observe(evidence)
        usable = evidence[evidence.isfinite()].abs()
        if len(usable):
            now = usable.quantile(0.6).item()
            expected = now if expected is None else 0.7 * expected + 0.3 * now
    limit = float(prior.limit)
    assert limit == pytest.approx(4.0 if expected is None else min(max(expected, 0.5), 4.0), 1e-5)
    again = WeakAmplitude(0.5, 4.0, adaptive=0.6)
    again.load_state_dict(prior.state_dict())
    assert float(again.limit) == limit


def test_an_adaptive_limit_learns_also_when_the_step_is_skipped():
    opt = mask(WeakAmplitude(0.0, 10.0, adaptive=0.5, momentum=1.0) & torch.zeros_like)
    opt.verify(torch.ones(3), torch.tensor([1.0, 3.0, torch.nan]))
    opt.step()
    assert opt.last.skipped
    assert opt.state_dict()["gradreg"]["PostVerificationMask"]["prior"]["0"]["quantile"] == 2.0


@given(tensors(finite, 6), tensors(finite, 6))
def test_priors_combine_as_a_de_morgan_algebra(evidence, other):
    p, q = WeakAmplitude(1.0, 3.0, soft=0.8), lambda e: torch.sigmoid(e + other)
    e = evidence
    assert torch.equal((p & q)(e), torch.minimum(p(e), q(e)))
    assert torch.equal((q | p)(e), torch.maximum(p(e), q(e)))
    assert torch.equal((p & p)(e), p(e))
    assert torch.equal((~(p & q))(e), ((~p) | (lambda x: 1 - q(x)))(e))
    torch.testing.assert_close((~~p)(e), p(e))
    assert torch.equal((q & p)(e), (p & q)(e))


def test_combined_priors_are_pickled_and_keep_their_states():
    prior = ~(WeakAmplitude(0.0, 9.0, adaptive=0.5) & MedianOutlier(2.0))
    prior.observe(torch.tensor([1.0, 2.0, 3.0]))
    again = pickle.loads(pickle.dumps(prior))
    assert again.state_dict() == prior.state_dict() == {"0": {"0": {"quantile": 2.0}, "1": {}}}


@given(tensors(finite, 9), st.floats(0.5, 5))
def test_median_outlier_by_its_definition(evidence, k):
    evidence = evidence.double()
    median = evidence.sort().values[4]
    spread = 1.4826 * (evidence - median).abs().sort().values[4]
    expected = ((evidence - median).abs() <= k * spread).double()
    padded = torch.cat([evidence, torch.tensor([torch.nan]).double()])
    assert torch.equal(MedianOutlier(k)(padded), torch.cat([expected, torch.zeros(1).double()]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: WeakAmplitude(2.0, 1.0), "low < high"),
        (lambda: WeakAmplitude(0.0, 1.0, adaptive=1.0), "quantile"),
        (lambda: WeakAmplitude(0.0, 1.0, momentum=0.0), "momentum"),
        (lambda: WeakAmplitude(0.0, 1.0, soft=2.0), "width"),
        (lambda: MedianOutlier(0.0), "k > 0"),
    ],
)
def test_options_out_of_range_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# ---- The mean over what was kept -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_kept_mean_has_the_weighted_value_and_the_gradient_weighted_once(shape):
    torch.manual_seed(0)
    keep = torch.tensor([1.0, 0.5, 0.0, 0.25, 1.0, 0.0]).view(6, *[1] * (len(shape) - 1))
    start = torch.randn(shape)
    start[2] = torch.nan
    opt = gradreg.PostVerificationMask(
        torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]), lambda e: e
    )
    out = start.clone().requires_grad_()
    verified, found = opt.verify(out, evidence=keep)
    value = gradreg.kept_mean(verified.square(), found)
    value.backward()
    weights = keep.expand(shape)
    known = start.nan_to_num()
    torch.testing.assert_close(value.detach(), (weights * known.square()).sum() / weights.sum())
    torch.testing.assert_close(out.grad, 2 * weights * known / weights.sum())


def test_kept_mean_of_nothing_is_zero_and_a_misfit_is_named():
    assert gradreg.kept_mean(torch.tensor([torch.nan, 1.0]), torch.zeros(2)).item() == 0
    assert gradreg.kept_mean(torch.zeros(0), torch.zeros(0)).item() == 0
    with pytest.raises(ValueError, match=r"\(4,\), found \(4, 1\)"):
        gradreg.kept_mean(torch.ones(4), torch.ones(4, 1))


def test_usual_mistakes_are_named():
    base = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(TypeError, match=r"prior must be a function.*MedianOutlier"):
        gradreg.PostVerificationMask(base, gradreg.MedianOutlier)
    with pytest.raises(TypeError, match=r"SignAgreement, which judges gradients.*gradient_prior="):
        gradreg.PostVerificationMask(base, gradreg.SignAgreement())
    with pytest.raises(TypeError, match="gradient_prior must be a function"):
        gradreg.PostVerificationMask(base, gradient_prior=gradreg.MedianOutlier())
    opt = gradreg.PostVerificationMask(base, lambda evidence: 1.0)
    with pytest.raises(TypeError, match="evidence must be a tensor, found list"):
        opt.verify(torch.ones(2), evidence=[1.0, 2.0])
    with pytest.raises(TypeError, match="must return a tensor of keep weights, found float"):
        opt.verify(torch.ones(2))
    with pytest.raises(ValueError, match="keepdim=False"):
        opt.verify(torch.ones(2), evidence=torch.ones(2, 3), prior=gradreg.Entropy())


@pytest.mark.parametrize("zero_grad", ["before the forward pass", "before the backward pass"])
def test_a_batch_that_was_verified_and_then_skipped_does_not_count(zero_grad):
    w = torch.ones(2, requires_grad=True)
    opt = PostVerificationMask(torch.optim.SGD([w], lr=0.1), WeakAmplitude(0.0, 1.0))
    for evidence, skip in ((0.5, True), (9.0, False)):
        if zero_grad == "before the forward pass":
            opt.zero_grad()
        out, _ = opt.verify(w * 2, torch.full((2,), evidence))
        if skip:  # as for a loss that is NaN
            continue
        if zero_grad == "before the backward pass":
            opt.zero_grad()
        out.sum().backward()
        opt.step()
    assert opt.last == gradreg.MaskStep(kept=0.0, skipped=True)
    assert w.tolist() == [1, 1]


def test_a_step_without_any_backward_pass_is_still_decided_by_what_was_verified():
    w = torch.ones(2, requires_grad=True)
    opt = PostVerificationMask(
        torch.optim.SGD([w], lr=0.1, weight_decay=0.1), WeakAmplitude(0.0, 1.0)
    )
    w.grad = torch.ones(2)
    opt.verify(w * 2, torch.full((2,), 9.0))
    opt.step()
    assert opt.last.skipped


@pytest.mark.parametrize("order", ["ab", "ba", "aa"])
def test_an_output_verified_twice_gets_the_smaller_weights_not_their_product(order):
    """As one mask with the prior `a & b`."""
    weights = {"a": torch.tensor([0.5, 0.25, 0.0, 1.0]), "b": torch.tensor([0.25, 0.5, 1.0, 0.0])}
    x = torch.ones(4, requires_grad=True)
    inner = PostVerificationMask(torch.optim.SGD([x], lr=0.1))
    outer = PostVerificationMask(inner)
    out = x
    for opt, name in zip((outer, inner), order, strict=True):
        out, keep = opt.verify(out, weights[name], torch.clone)
    expected = torch.minimum(*(weights[name] for name in order))
    assert torch.equal(keep, expected)
    out.backward(torch.tensor([1.0, 1.0, math.nan, math.inf]))
    assert torch.equal(x.grad[:2], expected[:2])
    assert (x.grad[2:] == 0).all() or order == "aa"
    outer.step()
    assert outer.last.kept == weights[order[0]].mean()
    assert inner.last.kept == weights[order[1]].mean()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"loss": None, "logits": torch.ones(2)}, r"dict with the tensors logits: .*'logits'"),
        ((torch.ones(2),), r"tuple: pass the tensor"),
        ({}, r"dict with the tensors none: pass the tensor"),
    ],
)
def test_an_output_of_several_tensors_is_refused_by_name(output, message):
    opt = mask(WeakAmplitude(0.0, 1.0))
    for method in (opt.verify, opt.verify_input):
        with pytest.raises(
            TypeError, match=f"{method.__name__} expects a tensor, found a {message}"
        ):
            method(output)
