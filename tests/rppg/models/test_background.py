"""The background as a reference for light: bare skin beside the face is none."""

import torch
from torch import Tensor

from rppg.models.background import background_traces, skin_likeness
from rppg.models.patches import background_patches, face_prior

GRID = 18
SKIN, WALL = torch.tensor([180.0, 130.0, 100.0]), torch.tensor([120.0, 130.0, 140.0])


def portrait(wall: Tensor = WALL) -> Tensor:
    face = (face_prior(GRID) > 0.3)[None, None]
    return torch.where(face, SKIN[None, :, None, None], wall[None, :, None, None])


def test_skin_is_told_by_its_colour_whatever_its_brightness() -> None:
    mean = portrait()
    mean[..., :3, :6] = 0.4 * SKIN[:, None, None]
    found = skin_likeness(mean).view(GRID, GRID)
    assert float(found[:3, :6].min()) > 0.95
    assert float(found[:3, 12:].max()) < 0.05
    torch.testing.assert_close(skin_likeness(7 * mean).view(GRID, GRID), found)


def test_patches_of_skin_are_left_out_of_the_background() -> None:
    masks = background_patches(GRID).flatten(1)
    mean = portrait()
    mean[..., :3, :] = SKIN[:, None, None]
    blood = torch.zeros(1, GRID * GRID, 3, 60)
    blood.view(1, GRID, GRID, 3, 60)[:, :3] = torch.sin(torch.arange(60) / 4)
    traces, seen = background_traces(blood, mean, masks)
    assert float(traces.abs().max()) < 0.15
    assert float(seen[0, 2]) < 0.15  # the upper border is nothing but skin
    assert float(seen[0, :2].min()) > 0.9
    plain, _ = background_traces(blood, portrait(), masks)
    assert float(plain[0, 2].abs().max()) > 0.9


def test_a_wall_of_the_colour_of_skin_is_still_a_reference() -> None:
    masks = background_patches(GRID).flatten(1)
    lamp = torch.sin(torch.arange(60) / 4).expand(1, GRID * GRID, 3, 60)
    traces, seen = background_traces(lamp, portrait(SKIN), masks)
    assert float(seen.min()) > 0.9
    torch.testing.assert_close(traces, lamp[:, :3] * seen[:, :, None, None])


def test_a_frame_filled_by_skin_has_no_background() -> None:
    masks = background_patches(GRID).flatten(1)
    blood = torch.sin(torch.arange(60) / 4).expand(1, GRID * GRID, 3, 60)
    traces, seen = background_traces(blood, portrait(SKIN), masks, walls=False)
    assert float(seen.max()) < 0.15
    assert float(traces.abs().max()) < 0.15
