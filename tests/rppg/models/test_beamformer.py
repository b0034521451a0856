"""The beamformer against its closed form; cancelling, windows."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rppg.models.beamformer import (
    apply_weights,
    beamformer_weights,
    cancel_references,
    covariance,
    load_diagonal,
    unfold_windows,
    window_shares,
)

seeds = st.integers(0, 2**31 - 1)


def random_covariance(seed: int, channels: int, spread: float = 2.0) -> Tensor:
    """A covariance of AC/DC size whose axes differ in power by `10^(2 spread)`."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(
        torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    )[0]
    power = 1e-6 * 10 ** (
        spread * (2 * torch.rand(channels, generator=generator, dtype=torch.float64) - 1)
    )
    return (axes * power) @ axes.mT


def random_signatures(seed: int, count: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    p = torch.rand(count, channels, generator=generator, dtype=torch.float64) + 0.05
    return torch.nn.functional.normalize(p, dim=1)


@given(seed=seeds, channels=st.integers(2, 6), count=st.integers(1, 5))
def test_weights_are_the_closed_form_with_unit_gain(seed: int, channels: int, count: int) -> None:
    q = torch.stack([random_covariance(seed + i, channels) for i in range(3)])
    signatures = random_signatures(seed, count, channels)
    found = beamformer_weights(q, signatures)
    assert found.shape == (3, count, channels)
    for i in range(3):
        inverse = np.linalg.inv(q[i].numpy())
        for k, p in enumerate(signatures.numpy()):
            expected = inverse @ p / (p @ inverse @ p)
            np.testing.assert_allclose(found[i, k].numpy(), expected, rtol=1e-7, atol=1e-9)
            assert float(found[i, k] @ signatures[k]) == pytest.approx(1, abs=1e-9)


@given(seed=seeds, channels=st.integers(2, 5))
def test_no_other_weights_of_unit_gain_have_less_power(seed: int, channels: int) -> None:
    q, p = random_covariance(seed, channels), random_signatures(seed, 1, channels)
    best = beamformer_weights(q, p)[0]
    generator = torch.Generator().manual_seed(seed + 2)
    step = torch.randn(50, channels, generator=generator, dtype=torch.float64)
    step = step - (step @ p[0])[:, None] * p  # the gain on p stays 1
    for scale in (1e-3, 1e-1, 1.0, 10.0):
        other = best + scale * step
        power = torch.einsum("nc,cd,nd->n", other, q, other)
        assert bool((power >= best @ q @ best * (1 - 1e-9)).all())


def test_known_nuisance_is_cancelled_and_the_pulse_kept_whole() -> None:
    time = torch.arange(300, dtype=torch.float64) / 30
    pulse, light = torch.sin(2 * torch.pi * 1.2 * time), torch.sin(2 * torch.pi * 1.9 * time)
    p = torch.nn.functional.normalize(torch.tensor([[0.33, 0.77, 0.53]]).double(), dim=1)
    colour = torch.tensor([1.0, 0.9, 0.7]).double()
    nuisance = 0.05 * colour[:, None] * light
    q = load_diagonal(covariance(nuisance), 1e-6)
    found = beamformer_weights(q, p)[0] @ (0.003 * p[0][:, None] * pulse + nuisance)
    torch.testing.assert_close(found, 0.003 * pulse, atol=3e-5, rtol=0)


def test_loading_is_relative_to_the_mean_power() -> None:
    q = random_covariance(3, 4)
    for scale in (1.0, 1e4):
        extra = load_diagonal(scale * q, 0.5) - scale * q
        torch.testing.assert_close(
            extra, (0.5 * scale * torch.trace(q) / 4 + 1e-12) * torch.eye(4, dtype=q.dtype)
        )


def test_a_covariance_of_zero_gives_finite_weights_of_unit_gain() -> None:
    q = load_diagonal(torch.zeros(3, 3), 3e-3)
    p = torch.nn.functional.normalize(torch.tensor([[0.33, 0.77, 0.53]]), dim=1)
    torch.testing.assert_close(beamformer_weights(q, p), p)


def test_what_the_background_shows_is_removed_and_an_orthogonal_pulse_is_left() -> None:
    time = torch.arange(300, dtype=torch.float64) / 30  # whole periods: exactly orthogonal
    pulse = torch.sin(2 * torch.pi * 1.2 * time)
    lamps = torch.stack([torch.sin(2 * torch.pi * f * time + f) for f in (1.9, 2.6)])
    references = (torch.tensor([[1.0, 0.2], [0.3, 0.9], [0.5, 0.5]]).double() @ lamps)[None]
    mixture = torch.tensor([[0.8, 0.1], [0.2, -0.7], [1.5, 0.4], [0.0, 0.0]]).double()
    light = (mixture @ lamps).view(1, 2, 2, 300)
    x = light + 0.01 * pulse
    for ridge, left in ((1e-9, 1e-6), (0.1, 0.5)):
        gram = load_diagonal(covariance(references), ridge)
        residual = cancel_references(x, references, gram)
        assert residual.shape == x.shape
        torch.testing.assert_close(
            (residual * pulse).sum(-1) / (pulse * pulse).sum(),
            torch.full((1, 2, 2), 0.01, dtype=torch.float64),
        )
        rest = residual - 0.01 * pulse
        assert float(rest.square().mean()) < left**2 * float(light.square().mean())
    # A clip without any light change in its background is left alone.
    gram = load_diagonal(covariance(0 * references), 0.1)
    torch.testing.assert_close(cancel_references(x, 0 * references, gram), x)


@given(
    seed=seeds,
    length=st.integers(4, 80),
    quotient=st.sampled_from([2, 3, 4]),
    extra=st.integers(0, 200),
)
def test_shares_of_the_windows_sum_to_one(
    seed: int, length: int, quotient: int, extra: int
) -> None:
    hop = max(1, length // quotient)
    time = length // 2 + hop + 1 + extra
    x = torch.randn(2, 3, time, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    windows = unfold_windows(x, length, hop)
    assert windows.shape[:2] == (2, 3)
    assert windows.shape[-1] == length
    shares = window_shares(windows.shape[2], length, hop, time, x)
    torch.testing.assert_close(shares.sum(0), torch.ones_like(shares[0]))
    # Window n is centred on sample n · hop.
    n = 1 if windows.shape[2] > 1 else 0
    torch.testing.assert_close(windows[..., n, length // 2], x[..., n * hop])


@pytest.mark.parametrize(("length", "hop"), [(150, 37), (8, 2), (5, 3), (4, 4), (3, 1)])
@pytest.mark.parametrize("regions", [1, 4])
def test_weights_are_applied_as_to_windows_that_are_added(
    length: int, hop: int, regions: int
) -> None:
    x = torch.randn(2, 4, 3, 5 * hop, dtype=torch.float64)
    windows = unfold_windows(x, length, hop)  # (B, R, C, N, L)
    count = windows.shape[3]
    weights = torch.randn(2, regions, count, 7, 3, dtype=torch.float64)
    mixed = torch.einsum("brnkc,brcnl->bkrnl", weights.expand(-1, 4, -1, -1, -1), windows)
    mixed = mixed.flatten(0, 2)
    hann = torch.hann_window(length, dtype=torch.float64)

    def add(parts: Tensor) -> Tensor:
        size = (1, (count - 1) * hop + length)
        return F.fold(parts.mT, size, (1, length), stride=(1, hop))[:, 0, 0]

    gain = add(hann.expand(1, count, length)).clamp(min=1e-3)
    expected = (add(mixed * hann) / gain)[:, length // 2 :][:, : 5 * hop].view(2, 7, 4, 5 * hop)
    shares = window_shares(count, length, hop, 5 * hop, x)
    torch.testing.assert_close(apply_weights(weights, shares, x), expected)
