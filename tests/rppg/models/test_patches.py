"""Patches: AC/DC units, the band, where face and background lie."""

import pytest
import torch

from rppg.models.patches import (
    ac_dc,
    background_patches,
    band_limit,
    face_prior,
    pool_patches,
    region_cells,
    tile_background,
)

BAND = (30.0, 0.6, 3.3)


def sine(hz: float, seconds: float = 10.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(int(seconds * 30)).double() / 30 + 0.4)


@pytest.mark.parametrize("hz", [0.8, 1.2, 2.0, 3.0])
def test_a_sine_in_the_band_passes_with_unit_gain_and_no_delay(hz: float) -> None:
    found, inner = band_limit(5 + sine(hz), *BAND), slice(45, -45)
    gain = (found * sine(hz))[inner].sum() / sine(hz)[inner].square().sum()
    assert float(gain) == pytest.approx(1, abs=0.02)
    assert float((found - sine(hz))[inner].abs().max()) < 0.15


@pytest.mark.parametrize("hz", [0.1, 0.25, 4.0, 8.0, 14.0])
def test_a_sine_outside_of_the_band_is_removed(hz: float) -> None:
    found = band_limit(5 + sine(hz), *BAND)
    assert float(found[45:-45].square().mean().sqrt()) < 0.05


def test_the_band_is_linear_and_blind_to_a_constant() -> None:
    x, y = torch.randn(2, 3, 200, dtype=torch.float64)
    torch.testing.assert_close(
        band_limit(2 * x - 3 * y + 7, *BAND), 2 * band_limit(x, *BAND) - 3 * band_limit(y, *BAND)
    )
    torch.testing.assert_close(band_limit(torch.full((4, 90), 7.0), *BAND), torch.zeros(4, 90))


def test_traces_are_relative_changes_whatever_the_light() -> None:
    change = 0.01 * sine(1.2)[None, :, None, None, None]
    level = 1 + 200 * torch.rand(2, 1, 3, 4, 4, dtype=torch.float64)
    traces, mean = ac_dc(level * (1 + change))
    assert traces.shape == (2, 16, 3, 300)
    torch.testing.assert_close(mean, level[:, 0] * (1 + change.mean()))
    expected = (1 + change[0, :, 0, 0, 0]) / (1 + change.mean()) - 1
    torch.testing.assert_close(traces, expected.expand_as(traces))


def test_patch_order_is_row_by_row() -> None:
    patches = torch.ones(1, 4, 1, 3, 3)
    patches[0, 2, 0, 1, 2] = 5
    traces, _ = ac_dc(patches)
    assert int(traces.abs().sum((0, 2, 3)).argmax()) == 1 * 3 + 2


def test_pooling_keeps_the_mean_and_leaves_pooled_input_alone() -> None:
    frames = torch.rand(2, 5, 3, 72, 72)
    pooled = pool_patches(frames, 18)
    assert pooled.shape == (2, 5, 3, 18, 18)
    torch.testing.assert_close(pooled[1, 2, 0, 3, 4], frames[1, 2, 0, 12:16, 16:20].mean())
    assert pool_patches(pooled, 18) is pooled


@pytest.mark.parametrize("grid", [12, 18, 24])
def test_face_and_background_do_not_meet(grid: int) -> None:
    prior, background = face_prior(grid), background_patches(grid)
    assert float(prior[grid // 2, grid // 2]) > 0.99
    torch.testing.assert_close(prior, prior.flip(1))
    assert bool((background.sum((1, 2)) > 0).all())
    assert float(background.sum(0).max()) == 1
    shared = (prior * background.sum(0)).sum() / background.sum()
    assert float(shared) < 0.05


def test_regions_tile_the_face_box_without_overlap() -> None:
    cells = region_cells(18, 6)
    assert cells.shape == (36, 18, 18)
    assert set(cells.sum((1, 2)).tolist()) == {4.0}
    inside = torch.zeros(18, 18)
    inside[3:15, 3:15] = 1  # the central 1/1.5 of the side
    torch.testing.assert_close(cells.sum(0), inside)


def test_tiled_background_shows_what_is_beside_the_head_alone() -> None:
    left, right, head = 1.0, 2.0, 9.0
    clip = torch.full((2, 5, 3, 18, 18), head)
    clip[..., :3], clip[..., 15:] = left, right
    clip[..., 13:, :] = head  # shoulders
    found = tile_background(clip)
    assert found.shape == clip.shape
    assert found.unique().tolist() == [left, right]
    image = torch.arange(18.0 * 18).view(18, 18)  # neighbours stay neighbours
    steps = tile_background(image)[:13, :3].diff(dim=1)
    torch.testing.assert_close(steps, torch.ones(13, 2))
