"""The mask: exactly zero gradient where rejected, priors and their algebra, counts."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


@given(weights=tensors(st.floats(0, 1, width=32), 6), soft=st.booleans(), renorm=st.booleans())
def test_soft_weights_scale_rounded_ones_select_renormalised_ones_have_mean_one(
    weights, soft, renorm
):
    opt = mask(lambda _: weights, soft=soft, renormalise=renorm)
    x = torch.ones(6, requires_grad=True)
    out, keep = opt.verify(x)
    out.sum().backward()
    expected = weights if soft else (weights >= 0.5).float()
    assert torch.equal(keep, expected)
    if renorm and expected.sum() > 1e-3:
        assert torch.isclose(x.grad.mean(), torch.tensor(1.0))
        expected = expected / expected.mean()
    elif renorm:
        return
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype):
    opt = mask(WeakAmplitude(0.0, 1.0), renormalise=True)
    x = torch.ones(4, 2, dtype=dtype, requires_grad=True)
    out, keep = opt.verify(x, torch.tensor([[0.5], [2.0], [0.5], [torch.nan]]))
    out.sum().backward()
    assert keep.dtype == dtype
    assert x.grad[:, 0].tolist() == [2, 0, 2, 0]


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
