"""Contrast-Phys: a loss that pulls spectra within a video together, and pushes videos apart.

Of each regional wave of a clip, and of their mean, random pieces of half its length are taken; with
S the normalised in-band spectra of the pieces and d the mean squared difference,

    loss = mean d(S, S') over pairs within a video − mean d(S, S') over pairs across videos.

Reference: Sun and Li, "Contrast-Phys: unsupervised video-based remote physiological measurement via
spatiotemporal contrast", ECCV 2022.
"""

import torch
from pydantic import Field
from torch import Tensor

from rppg.frozen_config import FrozenConfig

CONSTANT = 1e-12
"""Power below which a wave is constant except for rounding."""


class ContrastConfig(FrozenConfig):
    """Contrast-Phys's constants, as published."""

    pieces: int = Field(4, ge=1, description="of each wave")
    share: float = Field(0.5, gt=0, le=1, description="length of a piece, of the clip's")
    low_hz: float = Field(40 / 60, gt=0)
    high_hz: float = Field(250 / 60, gt=0)


def draw_pieces(waves: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw `count` random pieces of each wave: `(B, N, T)` to `(B, N · count, length)`."""
    videos, regions, time = waves.shape
    first = torch.randint(0, time - length + 1, (videos, regions, count, 1), generator=generator)
    index = (first + torch.arange(length)).flatten(2).to(waves.device)
    return waves.gather(2, index).unflatten(2, (count, length)).flatten(1, 2)


def band_spectra(waves: Tensor, fps: float, config: ContrastConfig) -> Tensor:
    """Return the power `(..., F)` of waves `(..., T)` in the band, normalised to sum one."""
    power, inside = _power(waves, fps, config)
    band = power[..., inside]
    return band / band.sum(-1, keepdim=True).clamp(min=1e-20)


def contrastive(spectra: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean distances of spectra `(V, M, F)` within the videos, and across them."""
    videos, pieces, _ = spectra.shape
    flat = spectra.flatten(0, 1)
    distance = (flat[:, None] - flat).square().mean(-1)
    video = torch.arange(videos, device=spectra.device).repeat_interleave(pieces)
    same = video[:, None] == video
    itself = torch.eye(len(flat), dtype=torch.bool, device=spectra.device)
    return distance[same & ~itself].mean(), distance[~same].mean()


def contrast_loss(
    waves: Tensor,
    fps: float,
    config: ContrastConfig,
    generator: torch.Generator,
    keep: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return `loss`, `within` and `across` for waves `(V, N, T)` of V ≥ 2 videos.

    Args:
        keep: `(V,)` bool, which videos count, two or more; all if None. The others are compared
            with nothing: neither with themselves nor with another video. The same pieces are drawn
            of those that count.
    """
    length = max(2, round(config.share * waves.shape[-1]))
    pieces = draw_pieces(waves, config.pieces, length, generator)
    if keep is not None:
        pieces = pieces[keep]
    within, across = contrastive(band_spectra(pieces, fps, config))
    return {"loss": within - across, "within": within, "across": across}


def irrelevant_power(waves: Tensor, fps: float, config: ContrastConfig) -> Tensor:
    """Return the share of power outside of the band, 0–1, by which Contrast-Phys selects its model.

    Lower is better. Of waves `(B, T)` without their means; the published code adds amplitudes, and
    includes the mean. A constant wave counts 1, so that it can't win.
    """
    power, inside = _power(waves, fps, config)
    total = power.sum(-1)
    share = power[..., ~inside].sum(-1) / total.clamp(min=CONSTANT)
    return torch.where(total > CONSTANT, share, 1.0).mean()


def _power(waves: Tensor, fps: float, config: ContrastConfig) -> tuple[Tensor, Tensor]:
    """Return the power `(..., F)`, and whether each frequency is in the band `(F,)`."""
    centred = waves - waves.mean(-1, keepdim=True)
    power = torch.fft.rfft(centred, norm="forward").abs().square()
    hz = torch.fft.rfftfreq(waves.shape[-1], 1 / fps, device=waves.device)
    return power, (hz >= config.low_hz) & (hz <= config.high_hz)
