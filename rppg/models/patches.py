"""Patches: crops pooled to a grid, their traces in AC/DC units, and masks over the grid.

All later stages process a few hundred patch traces instead of pixels. Under the dichromatic
reflection model the relative change x̃(t) = x(t) / mean(x) − 1 does not depend on albedo or on the
level of the light, and a pulse in it is 0.1–1 %.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from rppg.types import CROP_TO_FACE


def pool_patches(frames: Tensor, grid: int) -> Tensor:
    """Area-average crops into patches.

    Args:
        frames: `(B, T, C, S, S)` linear or gamma-coded light, any positive scale.
        grid: patches per side.

    Returns:
        `(B, T, C, grid, grid)`; the input itself where it already has this size.
    """
    if frames.shape[-1] == frames.shape[-2] == grid:
        return frames
    flat = F.adaptive_avg_pool2d(frames.flatten(0, 1), grid)
    return flat.unflatten(0, frames.shape[:2])


def ac_dc(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Split patches `(B, T, C, G, G)` into traces `(B, P, C, T)` in AC/DC units and means.

    Returns:
        The traces, and the mean frame `(B, C, G, G)`.
    """
    mean = patches.mean(1)
    traces = patches / mean.clamp(min=1e-6)[:, None] - 1
    return rearrange(traces, "b t c h w -> b (h w) c t"), mean


def band_limit(x: Tensor, fps: float, low_hz: float, high_hz: float) -> Tensor:
    """Keep the frequencies `low_hz`..`high_hz` of `(..., T)`; linear, zero-phase, unit gain.

    The signal is extended by mirroring before the transform, so that a slow drift does not ring.
    """
    time = x.shape[-1]
    pad = min(time - 1, round(fps))
    x = x - x.mean(-1, keepdim=True)
    padded = torch.cat([x[..., 1 : pad + 1].flip(-1), x, x[..., -pad - 1 : -1].flip(-1)], -1)
    spectrum = torch.fft.rfft(padded)
    hz = torch.fft.rfftfreq(padded.shape[-1], 1 / fps, device=x.device)
    inside = (hz >= low_hz) & (hz <= high_hz)
    return torch.fft.irfft(spectrum * inside, padded.shape[-1])[..., pad : pad + time]


def face_prior(grid: int, scale: float = 1.0) -> Tensor:
    """Return the prior of the face's position in a crop, `(grid, grid)` in 0..1: an ellipse.

    Args:
        grid: patches per side.
        scale: size of the ellipse relative to the face's.
    """
    axis = ((torch.arange(grid) + 0.5) / grid - 0.5) * CROP_TO_FACE / scale
    radius = torch.sqrt((axis[:, None] / 0.56) ** 2 + (axis[None, :] / 0.42) ** 2)
    return torch.sigmoid((1 - radius) / 0.06)


def background_patches(grid: int) -> Tensor:
    """Return masks `(3, grid, grid)` of the crop's left, right and upper border."""
    border, upper = grid // 6, round(grid * 0.72)
    masks = torch.zeros(3, grid, grid)
    masks[0, :upper, :border] = 1
    masks[1, :upper, grid - border :] = 1
    masks[2, : max(1, border * 2 // 3), border : grid - border] = 1
    return masks


def tile_background(clips: Tensor) -> Tensor:
    """Tile clips `(..., G, G)` with the background left and right of the head, mirrored."""
    grid = clips.shape[-1]
    border, upper = grid // 6, round(grid * 0.72)
    row = torch.arange(grid, device=clips.device)
    row = torch.where(row < upper, row, 2 * (upper - 1) - row)
    tile = torch.arange(grid, device=clips.device) % (2 * border)
    column = torch.where(tile < border, tile, grid - 1 + border - tile)
    return clips[..., row, :][..., column]


def region_cells(grid: int, regions: int) -> Tensor:
    """Return membership `(regions², grid, grid)` of patches in a lattice over the face box."""
    lattice = ((torch.arange(grid) + 0.5) / grid - 0.5) * CROP_TO_FACE + 0.5
    cell = (lattice * regions).floor()
    rows = (cell[None, :] == torch.arange(regions)[:, None]).float()
    return torch.einsum("ih,jw->ijhw", rows, rows).flatten(0, 1)
