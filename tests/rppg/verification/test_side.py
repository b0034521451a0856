"""The side of the face on which a wave is stronger: closed forms and invariances."""

import pytest
import torch
from torch import Tensor

from rppg.verification import side_difference

FPS, TIME, SIDE = 30.0, 300, 6
RATE_HZ = torch.tensor([1.2])
WAVE = torch.sin(2 * torch.pi * 1.2 * torch.arange(TIME) / FPS)[None]
EQUAL = torch.full((1, SIDE**2), 1 / SIDE**2)


def lattice(columns: list[float]) -> Tensor:
    """Return regions whose amplitude depends on their column."""
    gain = torch.tensor(columns).repeat(SIDE)
    return 0.003 * gain[:, None] * WAVE[:, None]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([1.0] * 6, 0.0),
        ([3.0] * 3 + [1.0] * 3, 0.5),
        ([1.0] * 3 + [3.0] * 3, -0.5),
        ([1.0] * 3 + [-0.5] * 3, 1.0),  # a head that turns: one half lighter, the other darker
    ],
)
def test_closed_forms(columns: list[float], expected: float) -> None:
    attention = (1 / torch.tensor(columns).abs().repeat(SIDE)).reciprocal() ** 2
    attention = (attention / attention.sum())[None]  # cancels the weights by power
    found = side_difference(lattice(columns), attention, RATE_HZ, FPS)
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_units_and_other_frequencies_do_not_matter() -> None:
    regions = lattice([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    first = side_difference(regions, EQUAL, RATE_HZ, FPS)
    other = torch.cos(2 * torch.pi * 2.5 * torch.arange(TIME) / FPS)
    assert float(first) > 0.2
    torch.testing.assert_close(first, side_difference(-100 * regions, EQUAL, RATE_HZ, FPS))
    loud = regions + 0.01 * other  # as loud everywhere
    attention = 1 / regions.square().mean(-1) * loud.square().mean(-1)  # cancels the weights
    found = side_difference(loud, attention / attention.sum(), RATE_HZ, FPS)
    torch.testing.assert_close(first, found, atol=1e-3, rtol=0)


def test_rows_do_not_matter_nor_noise_in_one_region() -> None:
    generator = torch.Generator().manual_seed(0)
    gain = torch.linspace(0.5, 2, SIDE).repeat_interleave(SIDE)
    noisy = lattice([1.0] * 6)
    noisy[:, 0] += torch.randn(TIME, generator=generator)
    for given in (0.003 * gain[:, None] * WAVE[:, None], noisy):
        assert abs(float(side_difference(given, EQUAL, RATE_HZ, FPS))) < 0.01


def test_each_wave_has_its_own_rate() -> None:
    fast = torch.sin(2 * torch.pi * 2.0 * torch.arange(TIME) / FPS)[None]
    left = torch.tensor([1.0] * 3 + [0.0] * 3).repeat(SIDE)[:, None]
    regions = 0.003 * (left * WAVE[:, None] + (1 - left) * fast[:, None])
    rates_hz = torch.tensor([1.2, 2.0])
    found = side_difference(regions.expand(2, -1, -1), EQUAL.expand(2, -1), rates_hz, FPS)
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0]), atol=0.01, rtol=0)
