"""The objective's terms against closed forms; what is rejected takes no part."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import gradreg
from rppg.models.fcus import FcusNet, FcusOutput, ModelConfig
from rppg.train.config import ObjectiveWeights
from rppg.train.objective import (
    Loss,
    coherence_term,
    objective,
    padded_spectrum,
    sparsity_term,
    variance_term,
)
from rppg.verification import References

FPS = 30.0
WEIGHTS = ObjectiveWeights()


def wave(hz: float, seconds: float = 10.0, phase: float = 0.3) -> Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(int(seconds * FPS)) / FPS + phase)


def sparsity(waves: Tensor, low: float = 0.6, high: float = 3.3) -> Tensor:
    power, hz = padded_spectrum(waves, FPS)
    return sparsity_term(power, hz, (hz >= low) & (hz <= high))


def test_the_spectrum_peaks_where_the_sine_is() -> None:
    power, hz = padded_spectrum(torch.stack([wave(1.234), 3 + wave(2.5)]), FPS)
    torch.testing.assert_close(hz[power.argmax(-1)], torch.tensor([1.234, 2.5]), atol=0.01, rtol=0)


def test_a_sine_and_its_harmonic_are_sparse_and_noise_is_not() -> None:
    assert float(sparsity(wave(1.2)[None])) < 0.03
    assert float(sparsity((wave(1.2) + 0.7 * wave(2.4))[None])) < 0.03
    assert float(sparsity(torch.randn(50, 300)).mean()) > 0.6
    # Two lines of power 1 and 1/4 that are no harmonics: a fifth lies away from the strongest.
    assert float(sparsity((wave(1.0) + 0.5 * wave(1.7))[None])) == pytest.approx(0.2, abs=0.03)


def test_power_outside_of_the_band_does_not_count() -> None:
    assert float(sparsity((wave(1.2) + 5 * wave(4.5))[None])) < 0.05
    assert float(sparsity((wave(1.2) + 5 * wave(4.5))[None], high=6.0)) < 0.1  # now it is the peak


def test_variance_is_zero_for_a_flat_batch_and_the_closed_form_for_one_line() -> None:
    bins = 60
    band = torch.ones(bins, dtype=torch.bool)
    weight = torch.full((bins,), 1 / bins)
    flat = variance_term(torch.eye(bins), band, weight)  # each clip another line
    assert float(flat) < 1e-10
    assert float(variance_term(torch.ones(1, bins), band, torch.ones(1))) < 1e-10
    uniform = torch.arange(1, bins + 1) / bins
    for line in (0, 20, 59):
        same = 7.0 * torch.eye(bins)[line].expand(8, -1)
        expected = ((torch.arange(bins) >= line).float() - uniform).square().mean()
        found = variance_term(same, band, torch.full((8,), 1 / 8))
        torch.testing.assert_close(found, expected)
        assert float(found) > 0.05


def test_variance_weighs_clips_as_distributions_whatever_their_power() -> None:
    band = torch.ones(40, dtype=torch.bool)
    power = torch.rand(3, 40)
    loud = power * torch.tensor([[1e-9], [1.0], [1e3]])
    weight = torch.tensor([0.5, 0.25, 0.25])
    torch.testing.assert_close(
        variance_term(loud, band, weight), variance_term(power, band, weight)
    )
    alone = variance_term(power[:1], band, torch.ones(1))
    torch.testing.assert_close(variance_term(power, band, torch.tensor([1.0, 0, 0])), alone)


@pytest.fixture
def net() -> FcusNet:
    return FcusNet(ModelConfig())


def output_of(regions: Tensor) -> FcusOutput:
    batch, count = regions.shape[:2]
    even = torch.full((batch, count), 1 / count)
    references = References(regions, regions, even)
    sets = regions[:, None].expand(-1, 2, -1, -1)
    return FcusOutput(regions, even, torch.full((batch, 10), 0.1), sets, references)


def test_coherence_is_zero_for_one_pulse_two_for_opposite_ones_one_for_strangers(
    net: FcusNet,
) -> None:
    index = torch.arange(36)
    black = ((index // 6 + index % 6) % 2 == 0)[None, :, None]
    pulse = wave(1.2).expand(1, 36, -1)
    keep = torch.ones_like(pulse)

    def found(regions: Tensor) -> float:
        return coherence_term(net, output_of(regions), keep).item()

    assert found(0.003 * pulse) == pytest.approx(0, abs=1e-5)
    assert found(0.003 * torch.where(black, pulse, -pulse)) == pytest.approx(2, abs=1e-5)
    assert found(torch.where(black, pulse, wave(2.0))) == pytest.approx(1, abs=0.02)


def random_regions(batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.003 * torch.randn(batch, 36, 300, generator=generator)


def test_the_total_is_the_weighted_sum_and_finite_with_nothing_kept(net: FcusNet) -> None:
    out = output_of(random_regions(3))
    speed = torch.tensor([0.8, 1.0, 1.3])
    loss = objective(
        net,
        out,
        torch.ones_like(out.regions),
        speed,
        ObjectiveWeights(sparsity=2, variance=3, coherence=0.7),
    )
    expected = 2 * loss.sparsity + 3 * loss.variance + 0.7 * loss.coherence
    torch.testing.assert_close(loss.total, expected)
    nothing = objective(net, out, torch.zeros_like(out.regions), speed, WEIGHTS)
    assert bool(torch.isfinite(nothing.total))


@pytest.mark.parametrize(("foreign_hz", "speed"), [(0.6, 1.33), (2.9, 0.75)])
def test_the_band_follows_the_speed_of_the_clip(
    net: FcusNet, foreign_hz: float, speed: float
) -> None:
    # Played at 1.33, a line at 0.6 Hz is one of 27 bpm, and at 0.75 one at 2.9 Hz is one of 232:
    # no pulses, so they do not count, however strong.
    regions = 0.003 * (wave(1.9, 30) + 3 * wave(foreign_hz, 30)).expand(1, 36, -1)
    out, keep = output_of(regions), torch.ones_like(regions)
    found = [
        float(objective(net, out, keep, torch.tensor([s]), WEIGHTS).sparsity.detach())
        for s in (1.0, speed)
    ]
    assert found[0] == pytest.approx(0.1, abs=0.02)  # the foreign line is the peak
    assert found[1] < 0.02  # there is the pulse alone


def terms(loss: Loss) -> Tensor:
    return torch.stack([loss.total, loss.sparsity, loss.variance, loss.coherence])


@pytest.mark.parametrize("rejected", ["clips", "regions"])
def test_what_is_rejected_gets_no_gradient_and_leaves_the_loss_of_the_rest_alone(
    net: FcusNet, rejected: str
) -> None:
    base = random_regions(4)
    out_of = torch.zeros(4, 36, 1, dtype=torch.bool)
    if rejected == "clips":
        out_of[1] = True
    else:
        out_of[:, ::5] = True
    keep = (~out_of).float().expand_as(base)
    speed = torch.tensor([0.8, 1.0, 1.2, 1.3])
    optimizer = gradreg.PostVerificationMask(
        torch.optim.SGD(net.parameters(), lr=0.1), lambda evidence: evidence
    )

    def run(regions: Tensor) -> tuple[Tensor, Tensor]:
        leaf = regions.clone().requires_grad_()
        verified, found = optimizer.verify(leaf, evidence=keep)
        torch.testing.assert_close(found, keep)
        loss = objective(net, output_of(verified), found, speed, WEIGHTS)
        (gradient,) = torch.autograd.grad(loss.total, leaf)
        return terms(loss).detach(), gradient

    loss, gradient = run(base)
    assert float(gradient[out_of.expand_as(base)].abs().max()) == 0.0
    assert float(gradient[~out_of.expand_as(base)].abs().max()) > 0
    other, _ = run(torch.where(out_of, 5 * random_regions(4, seed=7), base))
    torch.testing.assert_close(other, loss, rtol=1e-4, atol=1e-6)
    kept_changed, _ = run(torch.where(out_of, base, random_regions(4, seed=7)))
    assert float((kept_changed - loss).abs().max()) > 1e-3
    if rejected == "clips":
        kept = [0, 2, 3]
        alone = objective(net, output_of(base[kept]), keep[kept], speed[kept], WEIGHTS)
        torch.testing.assert_close(terms(alone), loss, rtol=1e-4, atol=1e-6)


def test_a_rejected_span_gets_no_gradient(net: FcusNet) -> None:
    leaf = random_regions(2).requires_grad_()
    keep = torch.ones(2, 36, 300)
    keep[0, :9, 100:200] = 0
    optimizer = gradreg.PostVerificationMask(
        torch.optim.SGD(net.parameters(), lr=0.1), lambda evidence: evidence
    )
    verified, found = optimizer.verify(leaf, evidence=keep)
    out = replace(output_of(leaf), regions=verified)
    objective(net, out, found, torch.ones(2), WEIGHTS).total.backward()
    assert leaf.grad is not None
    assert float(leaf.grad[keep == 0].abs().max()) == 0.0
    assert float(leaf.grad[keep == 1].abs().min()) > 0
