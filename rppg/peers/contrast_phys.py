"""Contrast-Phys: spectra of one video's pieces are pulled together, two videos' pushed apart.

Of each regional wave of a clip, and of their mean, random pieces of half its length are taken; with
S the normalised in-band spectra of the pieces and d the mean squared difference,

    loss = mean d(S, S') over pairs within a video − mean d(S, S') over pairs across videos.

Reference: Sun and Li, "Contrast-Phys: unsupervised video-based remote physiological measurement via
spatiotemporal contrast", ECCV 2022.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

CONSTANT = 1e-12
"""Power of a wave that is constant but for rounding."""


class ContrastConfig(BaseModel):
    """Contrast-Phys's constants, as published."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pieces: int = Field(4, ge=1, description="of each wave")
    share: float = Field(0.5, gt=0, le=1, description="length of a piece, of the clip's")
    low_hz: float = Field(40 / 60, gt=0)
    high_hz: float = Field(250 / 60, gt=0)


def draw_pieces(waves: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """`count` random pieces of each wave: `(B, N, T)` to `(B, N · count, length)`."""
    videos, places, time = waves.shape
    first = torch.randint(0, time - length + 1, (videos, places, count, 1), generator=generator)
    at = (first + torch.arange(length)).flatten(2).to(waves.device)
    return waves.gather(2, at).unflatten(2, (count, length)).flatten(1, 2)


def band_spectra(waves: Tensor, fps: float, config: ContrastConfig) -> Tensor:
    """Power of `(..., T)` in the band, summing to one, `(..., F)`."""
    power, inside = _power(waves, fps, config)
    band = power[..., inside]
    return band / band.sum(-1, keepdim=True).clamp(min=1e-20)


def contrastive(spectra: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distances within the videos, and across them, of spectra `(V, M, F)`."""
    videos, pieces, _ = spectra.shape
    flat = spectra.flatten(0, 1)
    distance = (flat[:, None] - flat).square().mean(-1)
    video = torch.arange(videos, device=spectra.device).repeat_interleave(pieces)
    same = video[:, None] == video
    itself = torch.eye(len(flat), dtype=torch.bool, device=spectra.device)
    return distance[same & ~itself].mean(), distance[~same].mean()


def contrast_loss(
    waves: Tensor, fps: float, config: ContrastConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """The loss, `within` and `across`, by name, of waves `(V, N, T)` of V ≥ 2 videos."""
    length = max(2, round(config.share * waves.shape[-1]))
    pieces = draw_pieces(waves, config.pieces, length, generator)
    within, across = contrastive(band_spectra(pieces, fps, config))
    return {"loss": within - across, "within": within, "across": across}


def irrelevant_power(waves: Tensor, fps: float, config: ContrastConfig) -> Tensor:
    """What Contrast-Phys chooses its model by, the less the better: power out of the band, 0–1.

    Of waves `(B, T)`, less their means. (The published code adds amplitudes, the mean's with them.)
    A constant wave counts 1, lest a dead network should be best.
    """
    power, inside = _power(waves, fps, config)
    total = power.sum(-1)
    share = power[..., ~inside].sum(-1) / total.clamp(min=CONSTANT)
    return torch.where(total > CONSTANT, share, 1.0).mean()


def _power(waves: Tensor, fps: float, config: ContrastConfig) -> tuple[Tensor, Tensor]:
    """Power `(..., F)` and whether each frequency is in the band `(F,)`."""
    centred = waves - waves.mean(-1, keepdim=True)
    power = torch.fft.rfft(centred, norm="forward").abs().square()
    hz = torch.fft.rfftfreq(waves.shape[-1], 1 / fps, device=waves.device)
    return power, (hz >= config.low_hz) & (hz <= config.high_hz)
