"""The published losses against closed forms."""

import math

import pytest
import torch

from rppg.peers.contrast_phys import (
    ContrastConfig,
    band_spectra,
    contrast_loss,
    contrastive,
    draw_pieces,
    irrelevant_power,
)
from rppg.peers.sinc import (
    SincConfig,
    Spectra,
    augment,
    bandwidth,
    draw_speed,
    sinc_criterion,
    sinc_loss,
    sparsity,
    spectra,
    variance,
)

FPS, SINC, CONTRAST = 30.0, SincConfig(), ContrastConfig()


def sine(hz: float, frames: int = 1800) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(frames, dtype=torch.float64) / FPS)[None]


def noise(clips: int = 200, frames: int = 300) -> torch.Tensor:
    return torch.randn(clips, frames, generator=torch.Generator().manual_seed(0))


def test_a_sine_in_the_band_costs_nothing_and_one_outside_everything() -> None:
    for hz in (0.8, 1.5, 2.8):
        of = spectra(sine(hz), FPS, SINC)
        assert float(bandwidth(of)) < 0.02
        assert float(sparsity(of, 0.1)) < 0.05
    for hz in (0.3, 4.0, 9.0):
        assert float(bandwidth(spectra(sine(hz), FPS, SINC))) > 0.98


def test_white_noise_costs_what_its_flat_spectrum_does() -> None:
    of = spectra(noise(), FPS, SINC)
    band = 3 - 2 / 3
    assert abs(float(bandwidth(of)) - (1 - band / 15)) < 0.01
    flat = Spectra(of.hz, torch.ones_like(of.power), of.inside)
    # the first of equal bins is the peak: 0.1 Hz above the band's lower end are near it
    assert abs(float(sparsity(flat, 0.1)) - (1 - 0.1 / band)) < 0.005


def test_two_sines_of_equal_power_are_half_sparse() -> None:
    of = spectra(sine(1.0) + sine(2.0), FPS, SINC)
    assert abs(float(sparsity(of, 0.1)) - 0.5) < 0.03
    weak = spectra(sine(1.0) + 0.5 * sine(2.0), FPS, SINC)
    assert abs(float(sparsity(weak, 0.1)) - 0.2) < 0.03


def lines(*hz: float) -> Spectra:
    """A batch of spectra of one line each."""
    grid = torch.linspace(0, 15, 2701)
    power = torch.zeros(len(hz), 2701)
    for row, f in enumerate(hz):
        power[row, int((grid - f).abs().argmin())] = 7.0 + row  # clips count alike
    return Spectra(grid, power, ((grid >= 2 / 3) & (grid <= 3)).expand(len(hz), -1))


def test_variance_is_zero_of_a_uniform_batch_and_a_third_of_a_collapsed_one() -> None:
    assert abs(float(variance(lines(2 / 3 + 1e-3))) - 1 / 3) < 0.005
    assert abs(float(variance(lines(2.999))) - 1 / 3) < 0.005
    assert abs(float(variance(lines(0.67, 2.999))) - 1 / 12) < 0.005
    assert float(variance(lines(*torch.linspace(0.68, 2.99, 100).tolist()))) < 1e-4


def test_the_band_goes_with_the_speed() -> None:
    wave = sine(3.6)  # 3 Hz at speed 1.2
    assert float(bandwidth(spectra(wave, FPS, SINC))) > 0.9
    assert float(bandwidth(spectra(wave, FPS, SINC, torch.tensor([1.3])))) < 0.05
    slow = sine(0.5)
    assert float(bandwidth(spectra(slow, FPS, SINC, torch.tensor([0.6])))) < 0.05
    both = spectra(torch.cat([wave, slow]), FPS, SINC, torch.tensor([1.3, 0.6]))
    assert float(bandwidth(both)) < 0.05
    # uniform in each clip's own band is what costs nothing
    matched = Spectra(both.hz, both.inside.double(), both.inside)
    assert float(variance(matched)) < 1e-12


def test_the_loss_is_the_weighted_sum_and_the_criterion_leaves_variance_out() -> None:
    waves = noise(6, 120)
    terms = sinc_loss(waves, FPS, SINC.model_copy(update={"sparsity": 2.0}))
    expected = terms["bandwidth"] + 2 * terms["sparsity"] + terms["variance"]
    torch.testing.assert_close(terms["loss"], expected)
    torch.testing.assert_close(
        sinc_criterion(waves, FPS, SINC), terms["bandwidth"] + terms["sparsity"]
    )


def test_a_constant_wave_has_a_finite_loss_and_gradient() -> None:
    waves = torch.ones(2, 120, requires_grad=True)
    sinc_loss(waves, FPS, SINC)["loss"].backward()
    assert waves.grad is not None and bool(waves.grad.isfinite().all())
    assert float(sinc_criterion(waves.detach(), FPS, SINC)) == 2  # the worst there is
    assert float(irrelevant_power(0.3 * torch.ones(2, 300), FPS, CONTRAST)) == 1
    spectrum = band_spectra(torch.ones(2, 5, 150), FPS, CONTRAST)
    assert bool(spectrum.isfinite().all())


def test_augmentation_has_the_published_sizes() -> None:
    generator = torch.Generator().manual_seed(0)
    still = torch.full((40, 3, 32, 32), 100.0)
    clips = torch.stack([augment(still, SINC, generator) for _ in range(200)])
    assert clips.shape == (200, 40, 3, 32, 32)
    levels = clips.mean((1, 2, 3, 4))
    assert abs(float(levels.std()) - 10) < 1.5 and abs(float(levels.mean()) - 100) < 3
    assert abs(float((clips - levels[:, None, None, None, None]).std()) - 2) < 0.05
    speeds = [draw_speed(SINC, 9.0, generator) for _ in range(500)]
    assert 0.6 <= min(speeds) < 0.62 and 1.38 < max(speeds) <= 1.4
    assert max(draw_speed(SINC, 1.1, generator) for _ in range(200)) <= 1.1


def test_half_of_the_clips_are_mirrored_half_reversed_and_crops_are_half_to_whole() -> None:
    quiet = SINC.model_copy(update={"brightness": 0.0, "noise": 0.0})
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(40.0)[:, None, None, None] * 1000 + torch.arange(32.0)
    ramp = ramp.expand(40, 3, 32, 32)
    clips = torch.stack([augment(ramp, quiet, generator) for _ in range(200)])
    reverse = clips[:, 0, 0, 0, 0] > clips[:, -1, 0, 0, 0]
    mirror = clips[:, 0, 0, 0, 0] > clips[:, 0, 0, 0, -1]
    assert 80 < int(reverse.sum()) < 120 and 80 < int(mirror.sum()) < 120
    extent = (clips[:, 0, 0, 0, 0] - clips[:, 0, 0, 0, -1]).abs() / 31
    assert 0.45 < float(extent.min()) < 0.55 and 0.95 < float(extent.max()) <= 1


def test_pieces_are_of_their_wave_and_everywhere_in_it() -> None:
    waves = torch.arange(2 * 5 * 300.0).view(2, 5, 300)
    pieces = draw_pieces(waves, 4, 150, torch.Generator().manual_seed(0))
    assert pieces.shape == (2, 20, 150)
    assert bool((pieces.diff() == 1).all())
    origin = pieces[..., 0].view(2, 5, 4)
    assert bool(
        (origin.div(300, rounding_mode="floor").long() == torch.arange(10).view(2, 5, 1)).all()
    )
    many = draw_pieces(waves[:1, :1], 2000, 150, torch.Generator().manual_seed(0))
    assert (float(many.min()), float(many.max())) == (0, 299)


def test_spectra_sum_to_one_in_the_band_and_irrelevant_power_is_what_lies_outside() -> None:
    spectrum = band_spectra(noise(3, 150), FPS, CONTRAST)
    assert spectrum.shape == (3, 17)  # 0.8, 1.0, ... 4.0 Hz
    torch.testing.assert_close(spectrum.sum(-1), torch.ones(3))
    assert float(irrelevant_power(5 + sine(1.0, 300), FPS, CONTRAST)) < 1e-9
    assert float(irrelevant_power(sine(6.0, 300), FPS, CONTRAST)) > 1 - 1e-9
    mixed = sine(1.0, 300) + 0.5 * sine(6.0, 300)
    assert abs(float(irrelevant_power(mixed, FPS, CONTRAST)) - 0.2) < 1e-6


def test_contrast_is_least_where_videos_agree_within_and_differ_across() -> None:
    generator = torch.Generator().manual_seed(0)

    def loss(*hz: tuple[float, float]) -> float:
        waves = torch.stack([torch.cat([sine(f, 300) for f in (a, a, a, b, b)]) for a, b in hz])
        return float(contrast_loss(waves, FPS, CONTRAST, generator)["loss"])

    apart, equal = loss((1.0, 1.0), (2.0, 2.0)), loss((1.0, 1.0), (1.0, 1.0))
    torn = loss((1.0, 2.0), (1.0, 2.0))
    assert apart < equal < torn
    assert abs(equal) < 1e-6
    # two lines apart in 17 bins: a squared difference of 2 / 17
    assert abs(apart + 2 / 17) < 0.01


def test_the_contrast_is_the_mean_over_pairs() -> None:
    found = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
    within, across = [], []
    for v in range(3):
        for w in range(3):
            for i in range(4):
                for j in range(4):
                    if (v, i) != (w, j):
                        distance = float((found[v, i] - found[w, j]).square().mean())
                        (within if v == w else across).append(distance)
    one, two = contrastive(found)
    assert float(one) == pytest.approx(sum(within) / len(within), rel=1e-5)
    assert float(two) == pytest.approx(sum(across) / len(across), rel=1e-5)


def test_a_clip_that_is_not_kept_has_no_part_in_any_term_or_gradient() -> None:
    keep = torch.tensor([True, False, True, True])
    speed = torch.tensor([1.0, 0.6, 1.2, 0.9])
    waves = noise(4, 150)

    def sinc(some: torch.Tensor) -> dict[str, torch.Tensor]:
        return sinc_loss(some, FPS, SINC, speed, keep)

    def contrast(some: torch.Tensor) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        regions = torch.stack([some, some.flip(-1)], 1)
        return contrast_loss(regions, FPS, CONTRAST, generator, keep)

    for loss in (sinc, contrast):
        expected = {name: float(term) for name, term in loss(waves).items()}
        for value in (0.0, 1e9, math.nan):
            other = waves.clone()
            other[1] = value
            other.requires_grad_()
            terms = loss(other)
            assert {name: float(term.detach()) for name, term in terms.items()} == expected
            terms["loss"].backward()
            assert other.grad is not None
            assert not other.grad[1].any() and all(row.any() for row in other.grad[keep])
    alone = sinc_loss(waves[keep], FPS, SINC, speed[keep])
    assert {name: float(term) for name, term in alone.items()} == {
        name: float(term) for name, term in sinc(waves).items()
    }


def test_videos_that_are_kept_are_contrasted_as_if_they_were_alone() -> None:
    keep = torch.tensor([True, False, True, True])
    waves = torch.stack([noise(4, 150), noise(4, 150).flip(0)], 1)
    found = contrast_loss(waves, FPS, CONTRAST, torch.Generator().manual_seed(0), keep)
    drawn = draw_pieces(waves, 4, 75, torch.Generator().manual_seed(0))[keep]
    within, across = contrastive(band_spectra(drawn, FPS, CONTRAST))
    assert float(found["within"]) == float(within) and float(found["across"]) == float(across)
