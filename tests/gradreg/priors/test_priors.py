"""Priors on scores and on evidence with a last dimension of its own; their algebra."""

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradreg import (
    Agreement,
    AtLeast,
    BandEnergy,
    Entropy,
    MedianOutlier,
    PostVerificationMask,
    Prior,
    regularize,
)
from gradreg import WeakAmplitude as Weak

FPS = 30.0
NAN = torch.nan


def mask(prior=None, **options):
    return PostVerificationMask(torch.optim.SGD([torch.zeros(1)], lr=0.1), prior, **options)


def wave(hz, length=150, phase=0.0):
    return torch.sin(2 * torch.pi * hz * torch.arange(length) / FPS + phase)


# ---- AtLeast ----------------------------------------------------------------------------------


@given(
    evidence=st.lists(st.floats(-9, 9), min_size=1, max_size=8),
    threshold=st.floats(-5, 5),
    soft=st.just(0.0) | st.floats(0.01, 5),
)
def test_a_score_is_kept_from_its_threshold_on_whatever_its_sign(evidence, threshold, soft):
    evidence = torch.tensor([*evidence, threshold, NAN], dtype=torch.float64)
    keep = AtLeast(threshold, soft=soft)(evidence)
    assert keep.shape == evidence.shape and keep.dtype == torch.float64
    for score, weight in zip(evidence.tolist(), keep.tolist(), strict=True):
        if score >= threshold:
            assert weight == 1
        elif math.isnan(score) or soft == 0:
            assert weight == 0
        else:
            expected = max(0, (score - (threshold - soft)) / soft)
            assert weight == pytest.approx(expected, abs=1e-9)


def test_a_score_has_no_part_in_the_weight_of_another():
    score = torch.tensor([[0.1], [0.3]])
    for prior in (AtLeast(0.2), AtLeast(0.2, soft=0.4)):
        prior.observe(torch.full((9,), 9.0))
        assert prior.state_dict() == {}
        alone = torch.cat([prior(row) for row in score])
        assert torch.equal(prior(score).flatten(), alone)
        assert torch.equal(pickle.loads(pickle.dumps(prior))(score), prior(score))
    assert AtLeast(2)(torch.tensor([1, 2, 3])).tolist() == [0, 1, 1]
    assert AtLeast(2, soft=2)(torch.tensor([1, 2, 3])).tolist() == [0.5, 1, 1]
    assert AtLeast(0.0)(torch.tensor([-torch.inf, torch.inf])).tolist() == [0, 1]


def test_scores_between_two_thresholds_and_outside_of_them():
    score = torch.tensor([-1.0, 0.5, 2.0])
    between = AtLeast(0.0) & ~AtLeast(1.0)
    assert between(score).tolist() == [0, 1, 0]
    assert (AtLeast(1.0) | ~AtLeast(0.0))(score).tolist() == [1, 0, 1]
    assert ((lambda e: (e > 1).float()) | between)(score).tolist() == [0, 1, 1]


def test_a_score_of_each_sample_masks_its_gradient():
    model = torch.nn.Linear(2, 3)
    opt = regularize(torch.optim.SGD(model.parameters(), lr=0.1), model, mask=AtLeast(0.2))
    out = torch.ones(4, 3, requires_grad=True)
    score = torch.tensor([[0.1], [0.2], [NAN], [0.7]])
    verified, keep = opt.verify(out, evidence=score)
    verified.sum().backward()
    assert keep.flatten().tolist() == [0, 1, 0, 1]
    assert torch.equal(out.grad, keep.expand(4, 3))


# ---- BandEnergy -------------------------------------------------------------------------------


@given(
    length=st.integers(60, 301),
    seed=st.integers(0, 9),
    low=st.floats(0.5, 3),
    width=st.floats(1, 8),
    offset=st.floats(-100, 100),
)
def test_the_band_holds_the_share_that_a_full_fourier_transform_says(
    length, seed, low, width, offset
):
    x = torch.randn(length, generator=torch.Generator().manual_seed(seed)).double() + offset
    window = torch.hann_window(length).double()
    spectrum = torch.fft.fft((x - x.mean()) * window).abs() ** 2
    frequency = torch.fft.fftfreq(length, 1 / FPS).abs()
    inside = (frequency >= low) & (frequency <= low + width)
    ratio = BandEnergy(low, low + width, FPS, 0.5).ratio(x)
    assert ratio.shape == (1,)
    assert ratio.item() == pytest.approx((spectrum[inside].sum() / spectrum.sum()).item(), 1e-5)


@given(hz=st.floats(0.3, 10), phase=st.floats(0, 6), scale=st.floats(1e-3, 1e3))
def test_a_sine_passes_inside_the_band_and_fails_outside_at_any_scale(hz, phase, scale):
    x = (scale * wave(hz, 300, phase) + 5 * scale).unsqueeze(0)
    edge = 0.25  # what the window and the bins smear
    prior = BandEnergy(0.7, 4.0, FPS, 0.6)
    if 0.7 + edge <= hz <= 4.0 - edge:
        assert prior(x).tolist() == [[1.0]]
    elif hz < 0.7 - edge or hz > 4.0 + edge:
        assert prior(x).tolist() == [[0.0]]
        assert (~prior)(x).tolist() == [[1.0]]


def test_a_constant_has_no_power_and_is_rejected():
    for value in (0.0, 0.1, 123.456, -1e6):
        assert BandEnergy(0.0, 15.0, FPS, 0.1)(torch.full((2, 97), value)).tolist() == [[0], [0]]


def test_soft_edge_falls_linearly_and_weights_keep_the_leading_dimensions():
    x = torch.stack([wave(1.2) + a * wave(8.0) for a in (0.0, 0.8, 1.2, 3.0)]).view(2, 2, -1)
    prior = BandEnergy(0.7, 3.0, FPS, 0.6, soft=0.5)
    ratio, weight = prior.ratio(x), prior(x)
    assert weight.shape == (2, 2, 1)
    torch.testing.assert_close(weight, ((ratio - 0.3) / 0.3).clamp(0, 1))
    assert ((weight > 0) & (weight < 1)).any()
    assert prior(x.half()).dtype == torch.float32
    assert BandEnergy(0.7, 3.0, FPS, 0.6)(x.double()).dtype == torch.float64
    assert prior(x[:0]).shape == (0, 2, 1)


def test_a_waveform_with_one_bad_sample_is_rejected_whole_and_the_others_are_not():
    x = torch.stack([wave(1.2), wave(1.2), wave(9.0)])
    x[1, 70] = NAN
    for prior, expected in (
        (BandEnergy(0.7, 3, FPS, 0.5), [1, 0, 0]),
        (torch.ones_like, [1, 0, 1]),
    ):
        out = x.clone().nan_to_num().requires_grad_()
        verified, keep = mask(lambda e, p=prior: p(e)[:, :1]).verify(out, x)
        verified.square().sum().backward()
        assert keep.flatten().tolist() == expected
        assert [bool(row.any()) for row in out.grad] == [bool(k) for k in expected]


# ---- Entropy ----------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 99),
    classes=st.integers(2, 12),
    fraction=st.floats(0.05, 1),
    scale=st.floats(0, 20),
)
def test_entropy_by_its_definition(seed, classes, fraction, scale):
    logits = scale * torch.randn(
        5, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    expected = (entropy < fraction * math.log(classes)).double()
    torch.testing.assert_close(Entropy(fraction)(logits), expected.unsqueeze(-1))
    torch.testing.assert_close(Entropy(fraction, keepdim=False)(logits), expected)


def test_entropies_of_samples_are_verified_by_their_logits():
    """What EATA and SAR do: minimise the entropy of confident samples alone."""
    logits = torch.tensor([[9.0, 0, 0], [0.1, 0, 0], [NAN, 0, 0], [0, 9.0, 0]], requires_grad=True)
    opt = mask(Entropy(0.4, keepdim=False))
    entropies = torch.distributions.Categorical(logits=logits.nan_to_num(), validate_args=False)
    losses, keep = opt.verify(entropies.entropy(), evidence=logits)
    assert keep.tolist() == [1, 0, 0, 1]
    (torch.where(keep > 0, losses, 0).sum() / keep.sum().clamp_min(1)).backward()
    assert [bool(row.any()) for row in logits.grad] == [True, False, False, True]


def test_half_precision_and_saturated_logits():
    logits = torch.tensor([[300.0, -300.0], [0.0, 0.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.int64):
        assert Entropy(0.4)(logits.to(dtype)).tolist() == [[1.0], [0.0]]


# ---- Agreement --------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), momentum=st.floats(0.05, 1), cosine=st.floats(-0.9, 0.9))
def test_agreement_by_its_definition(seed, momentum, cosine):
    generator = torch.Generator().manual_seed(seed)
    prior, consensus = Agreement(cosine, momentum=momentum), None
    for _ in range(4):
        x = torch.randn(6, 3, generator=generator, dtype=torch.float64) * 1e3
        prior.observe(x)
        now = torch.nn.functional.normalize(x, dim=-1).mean(0)
        consensus = now if consensus is None else (1 - momentum) * consensus + momentum * now
        expected = torch.cosine_similarity(x, consensus.expand_as(x), dim=-1)
        decided = (expected - cosine).abs() > 1e-9
        kept = prior(x).squeeze(-1)
        assert torch.equal(kept[decided], (expected >= cosine).double()[decided])


def test_a_few_long_vectors_cannot_turn_the_consensus():
    x = torch.cat([torch.tensor([[1.0, 0.1]]).repeat(6, 1), torch.tensor([[-1e30, 0.0]] * 5)])
    for momentum in (0.1, 1.0):
        prior = Agreement(momentum=momentum)
        for _ in range(3):
            prior.observe(x)
        assert prior(x).flatten().tolist() == [1.0] * 6 + [0.0] * 5


def test_vectors_without_direction_have_no_vote_and_are_rejected():
    prior = Agreement()
    bad = torch.tensor([[0.0, 0.0], [NAN, 1.0], [torch.inf, 1.0]])
    assert prior(bad).flatten().tolist() == [0, 0, 0]
    prior.observe(bad)
    prior.observe(bad[:0])
    assert prior(torch.tensor([[-1.0, 0.0], [0.0, 0.0]])).flatten().tolist() == [1, 0]
    prior.observe(torch.tensor([[1.0, 0.0]]))
    for _ in range(50):  # none of these moves it
        prior.observe(bad)
    assert prior.consensus.tolist() == [1, 0]
    assert prior(torch.tensor([[-1.0, 0.0], [1.0, 0.0]])).flatten().tolist() == [0, 1]


def test_agreement_masks_per_sample_gradients_and_goes_on_from_its_state():
    prior = Agreement()
    gradients = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]])
    opt = mask(prior)
    _, keep = opt.verify(torch.ones(3, 1, requires_grad=True), evidence=gradients)
    assert keep.flatten().tolist() == [1, 1, 0]
    state = opt.state_dict()["gradreg"]["PostVerificationMask"]["prior"]
    again = Agreement()
    again.load_state_dict(state)
    assert torch.equal(again.consensus, prior.consensus)
    assert again.consensus is not prior.consensus
    assert torch.equal(pickle.loads(pickle.dumps(prior)).consensus, prior.consensus)


# ---- The algebra ------------------------------------------------------------------------------


def test_priors_of_different_shapes_combine_by_broadcasting():
    x = torch.stack([wave(1.2), 3 * wave(1.2), wave(9.0)])
    band, weak = BandEnergy(0.7, 3.0, FPS, 0.5), Weak(0.0, 1.0)
    assert torch.equal((band & weak)(x), torch.minimum(band(x), weak(x)))
    assert torch.equal((weak | ~band)(x), torch.maximum(weak(x), 1 - band(x)))
    assert (~band)(x).shape == (3, 1)
    assert (band & ~Weak(0.0, 9.0) & (lambda e: e[:, :1] > 0))(x).shape == (3, 150)
    out = x.clone().requires_grad_()
    verified, keep = mask(band & weak).verify(out)
    verified.sum().backward()
    assert torch.equal(out.grad, keep)
    assert keep[1].any()
    assert not keep[2].any()


def test_the_complement_of_boolean_weights_is_their_negation():
    prior = ~((lambda e: e > 0) & Weak(0.0, 1.0)) & (lambda e: e < 9)
    assert prior(torch.tensor([0.5, -1.0, 2.0, 10.0])).tolist() == [0, 1, 1, 0]

    class Positive(Prior):
        def __call__(self, evidence):
            return evidence > 0

    assert (~Positive())(torch.tensor([1.0, -1.0])).tolist() == [0, 1]
    prior = ~(MedianOutlier() | (lambda e: e > 5))
    assert prior(torch.tensor([1.0, 1.0, 1.0, 9.0, -9.0])).tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: AtLeast(NAN), ValueError, "finite threshold"),
        (lambda: AtLeast(0.2, soft=-0.1), ValueError, "soft >= 0"),
        (lambda: AtLeast(0.2, soft=math.inf), ValueError, "soft >= 0"),
        (lambda: AtLeast(0.2)(torch.ones(3) * 1j), TypeError, r"evidence\.abs\(\)"),
        (lambda: BandEnergy(3.0, 0.7, FPS, 0.5), ValueError, "low_hz < high_hz"),
        (lambda: BandEnergy(0.7, 16.0, FPS, 0.5), ValueError, "Nyquist"),
        (lambda: BandEnergy(0.7, 3.0, FPS, 0.0), ValueError, "min_ratio"),
        (lambda: BandEnergy(0.7, 3.0, FPS, 0.5, soft=2), ValueError, "width"),
        (lambda: BandEnergy(0.7, 0.8, FPS, 0.5)(torch.ones(2, 10)), ValueError, "10 samples"),
        (lambda: BandEnergy(0.0, 3.0, FPS, 0.5)(torch.ones(2, 0)), ValueError, "0 samples"),
        (lambda: BandEnergy(0.7, 3.0, FPS, 0.5)(torch.ones(90) * 1j), TypeError, "real waveforms"),
        (lambda: Entropy(0.0), ValueError, "max_fraction"),
        (lambda: Entropy()(torch.ones(4, 1)), ValueError, "two classes"),
        (lambda: Entropy()(torch.ones(4, 2) * 1j), TypeError, "real logits"),
        (lambda: Agreement(2.0), ValueError, "min_cosine"),
        (lambda: Agreement(momentum=0.0), ValueError, "momentum"),
        (lambda: Agreement()(torch.ones(3)), ValueError, "unsqueeze"),
        (lambda: Agreement()(torch.ones(3, 2) * 1j), TypeError, "view_as_real"),
        (lambda: MedianOutlier()(torch.ones(3) * 1j), TypeError, r"evidence\.abs\(\)"),
    ],
)
def test_what_is_out_of_range_is_named(use, error, message):
    with pytest.raises(error, match=message):
        use()


def test_agreement_refuses_vectors_of_another_dimension():
    prior = Agreement()
    prior.observe(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"dimension 3, found shape \(2, 4\)"):
        prior(torch.ones(2, 4))
