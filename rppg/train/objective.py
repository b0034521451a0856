"""The label-free objective: terms that known properties of a pulse make small.

Non-contrastive terms after Speth et al., "Non-Contrastive Unsupervised Learning of Physiological
Signals from Video" (CVPR 2023), and regional coherence: the regions of a face carry one pulse, so
the waves of two halves of the face must agree; those of motion and sensor noise do not.
The published bandwidth term is left out: the network's output is band-limited by construction.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rppg.models.fcus import FcusNet, FcusOutput, fuse
from rppg.train.config import ObjectiveWeights


@dataclass(frozen=True)
class Loss:
    """The terms of the objective, each a scalar; `total` is their weighted sum."""

    total: Tensor
    sparsity: Tensor
    variance: Tensor
    coherence: Tensor


def objective(
    net: FcusNet,
    output: FcusOutput,
    keep: Tensor,
    speed: Tensor,
    weights: ObjectiveWeights,
) -> Loss:
    """Compute the label-free loss of a batch.

    Args:
        net: the network, which fuses the regions.
        output: its output, with `output.regions` as verified.
        keep: `(B, R, T)` verification weights in 0..1. Rejected samples take no part in the fused
            waves, nor in the statistics of the batch.
        speed: `(B,)` playback speed of each clip: the band of its pulse is scaled by it.
    """
    config = net.config
    bvp = net.fuse(output, keep)
    clip_weight = keep.mean((1, 2))
    clip_weight = clip_weight / clip_weight.sum().clamp(min=1e-8)
    power, hz = padded_spectrum(bvp, config.fps)
    low = (config.low_hz * speed).clamp(min=config.low_hz)[:, None]
    high = (config.high_hz * speed).clamp(max=config.high_hz)[:, None]
    band = (hz >= low) & (hz <= high)
    sparsity = (clip_weight * sparsity_term(power, hz, band)).sum()
    variance = variance_term(power, (hz >= config.low_hz) & (hz <= config.high_hz), clip_weight)
    coherence = (clip_weight * coherence_term(net, output, keep)).sum()
    total = (
        weights.sparsity * sparsity + weights.variance * variance + weights.coherence * coherence
    )
    return Loss(total, sparsity, variance, coherence)


def padded_spectrum(
    waves: Tensor, fps: float, resolution_hz: float = 1 / 120
) -> tuple[Tensor, Tensor]:
    """Return the zero-padded power spectrum `(..., F)` of waves `(..., T)`, and its frequencies."""
    waves = waves - waves.mean(-1, keepdim=True)
    waves = waves * torch.hann_window(waves.shape[-1], dtype=waves.dtype, device=waves.device)
    length = max(waves.shape[-1], round(fps / resolution_hz))
    power = torch.fft.rfft(waves, length).abs().square()
    return power, torch.fft.rfftfreq(length, 1 / fps, device=waves.device)


def sparsity_term(power: Tensor, hz: Tensor, band: Tensor, width_hz: float = 0.15) -> Tensor:
    """Return the share `(B,)` of in-band power away from the strongest line and its harmonic.

    The published term counts the second harmonic as noise. A pulse has one, and a sine that merely
    fits the loss does not, so here it counts as signal.
    """
    inside = power * band
    peak = hz[inside.argmax(-1)][:, None]
    near = ((hz - peak).abs() <= width_hz) | ((hz - 2 * peak).abs() <= width_hz)
    return 1 - (inside * near).sum(-1) / inside.sum(-1).clamp(min=1e-20)


def variance_term(power: Tensor, band: Tensor, clip_weight: Tensor) -> Tensor:
    """Return the squared distance of the batch's mean spectrum from a uniform one.

    Both are compared as cumulative distributions. Without this term the network could give every
    clip the same rate.
    """
    inside = power[:, band]
    shape = inside / inside.sum(-1, keepdim=True).clamp(min=1e-20)
    cumulative = (clip_weight[:, None] * shape).sum(0).cumsum(0)
    uniform = torch.arange(1, len(cumulative) + 1, device=power.device) / len(cumulative)
    return (cumulative - uniform).square().mean()


def coherence_term(net: FcusNet, output: FcusOutput, keep: Tensor) -> Tensor:
    """Return one minus the correlation `(B,)` of two halves of the face.

    The halves are the black and the white fields of a chessboard of regions.
    """
    side = net.config.regions
    index = torch.arange(side * side, device=keep.device)
    black = (index // side + index % side) % 2 == 0
    halves = [
        fuse(output.regions[:, part], output.attention[:, part], net.fusion_power, keep[:, part])
        for part in (black, ~black)
    ]
    return 1 - cosine_similarity(halves[0], halves[1], dim=-1)
