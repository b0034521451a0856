"""SiNC: losses on the spectra of single clips and of a batch, and augmentations.

With the power P(f) of a wave, its band 2/3–3 Hz scaled by the speed s at which its clip is played,
and its peak f* in that band,

    bandwidth  share of P outside of the band,
    sparsity   share of the band's P farther than 0.1 Hz from f*,
    variance   mean squared difference between the cumulative spectrum of the batch, each clip's
               band summing to one, and that of a spectrum that is uniform in each clip's band.

Reference: Speth, Vance, Flynn and Czajka, "Non-contrastive unsupervised learning of physiological
signals from video", CVPR 2023.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from rppg.frozen_config import FrozenConfig

TRANSFORM = 5400
"""Length of the zero-padded Fourier transform: a third of a bpm at 30 Hz."""

EPSILON = 1e-5


class SincConfig(FrozenConfig):
    """SiNC's constants, as published."""

    bandwidth: float = Field(1.0, ge=0, description="weight")
    sparsity: float = Field(1.0, ge=0, description="weight")
    variance: float = Field(1.0, ge=0, description="weight")
    low_hz: float = Field(2 / 3, gt=0)
    high_hz: float = Field(3.0, gt=0)
    near_hz: float = Field(0.1, gt=0, description="half width of the peak")
    slowest: float = Field(0.6, gt=0, le=1, description="playback speed, uniform")
    fastest: float = Field(1.4, ge=1)
    brightness: float = Field(10.0, ge=0, description="deviation of a clip's level, of 255")
    noise: float = Field(2.0, ge=0, description="deviation of a pixel's noise, of 255")
    smallest_crop: float = Field(0.5, gt=0, le=1, description="side of a random crop, uniform to 1")


@dataclass(frozen=True)
class Spectra:
    """The spectra of a batch.

    Attributes:
        hz: `(F,)` frequencies.
        power: `(B, F)`.
        inside: `(B, F)` whether a frequency is in the clip's band.
    """

    hz: Tensor
    power: Tensor
    inside: Tensor


def spectra(waves: Tensor, fps: float, config: SincConfig, speed: Tensor | None = None) -> Spectra:
    """Return the spectra of waves `(B, T)` of clips played at `speed` `(B,)`; 1 if None."""
    centred = waves - waves.mean(1, keepdim=True)
    power = torch.fft.rfft(centred, n=max(TRANSFORM, waves.shape[1])).abs().square()
    hz = torch.linspace(0, fps / 2, power.shape[1], device=waves.device)
    pace = torch.ones(len(waves)) if speed is None else speed
    pace = pace.to(hz)[:, None]
    inside = (hz >= config.low_hz * pace) & (hz <= config.high_hz * pace)
    return Spectra(hz, power, inside)


def bandwidth(of: Spectra) -> Tensor:
    """Return the share of power outside of the band, 0–1."""
    return _share((of.power * ~of.inside).sum(1), of.power.sum(1)).mean()


def sparsity(of: Spectra, near_hz: float) -> Tensor:
    """Return the share of the band's power that is not near its peak, 0–1."""
    band = of.power * of.inside
    peak = of.hz[band.argmax(1, keepdim=True)]
    far = (of.hz - peak).abs() > near_hz
    return _share((band * far).sum(1), band.sum(1)).mean()


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return the share of `part` in `whole`; 1 where both are 0, so that a constant wave can't win.

    The published code replaces a constant wave by noise instead, while training.
    """
    return torch.where(whole > EPSILON, part / (whole + EPSILON), 1.0)


def variance(of: Spectra) -> Tensor:
    """Return the distance of the batch's mean spectrum from a uniform one, 0–1/3."""
    span = of.inside.any(0)
    power = of.power[:, span]
    mean = (power / power.sum(1, keepdim=True).clamp(min=1e-20)).mean(0)
    uniform = of.inside[:, span] / of.inside.sum(1, keepdim=True)
    return (mean - uniform.mean(0)).cumsum(0).square().mean()


def sinc_loss(
    waves: Tensor,
    fps: float,
    config: SincConfig,
    speed: Tensor | None = None,
    keep: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the terms for waves `(B, T)`, by name, and their weighted sum, `loss`.

    Args:
        speed: `(B,)`; 1 if None.
        keep: `(B,)` bool, which clips count; all if None. The others have no part in any term, nor
            in the batch's spectrum.
    """
    if keep is not None:
        waves, speed = waves[keep], None if speed is None else speed[keep]
    of = spectra(waves, fps, config, speed)
    terms = {
        "bandwidth": bandwidth(of),
        "sparsity": sparsity(of, config.near_hz),
        "variance": variance(of),
    }
    total = sum((getattr(config, name) * term for name, term in terms.items()), torch.zeros(()))
    return {"loss": total, **terms}


def sinc_criterion(waves: Tensor, fps: float, config: SincConfig) -> Tensor:
    """Return bandwidth plus sparsity, by which SiNC selects its model; lower is better."""
    of = spectra(waves, fps, config)
    return bandwidth(of) + sparsity(of, config.near_hz)


def draw_speed(config: SincConfig, fastest: float, generator: torch.Generator) -> float:
    """Draw a playback speed, uniformly; `fastest` is the highest for which there are frames."""
    high = max(config.slowest, min(config.fastest, fastest))
    return config.slowest + (high - config.slowest) * _uniform(generator)


def augment(clip: Tensor, config: SincConfig, generator: torch.Generator) -> Tensor:
    """Crop, mirror, reverse, brighten and add noise to a clip `(T, C, S, S)` in 0–255."""
    side = clip.shape[-1]
    share = config.smallest_crop + (1 - config.smallest_crop) * _uniform(generator)
    size = max(1, round(share * side))
    top, left = (int(_uniform(generator) * (side - size + 1)) for _ in range(2))
    clip = clip[..., top : top + size, left : left + size]
    clip = F.interpolate(clip, (side, side), mode="bilinear", align_corners=False)
    if _uniform(generator) < 0.5:
        clip = clip.flip(-1)
    if _uniform(generator) < 0.5:
        clip = clip.flip(0)
    level = config.brightness * torch.randn((), generator=generator)
    return clip + level + config.noise * torch.randn(clip.shape, generator=generator)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
