"""Pulse signatures: how a pulse moves the colour channels, and which signature suits a clip."""

import torch
from torch import Tensor

NOMINAL_SIGNATURES = (
    (0.527, 0.762, 0.377),
    (0.439, 0.765, 0.471),
    (0.342, 0.756, 0.559),
    (0.241, 0.734, 0.635),
    (0.141, 0.702, 0.698),
)
"""Relative pulse amplitude in R, G, B of cameras from a reddish to a bluish one: a line through the
published signature (.33, .77, .53) (de Haan & van Leest, 2014), the low-dimensional manifold on
which the network locates each clip. The line itself is not learned: an epoch on one camera would
move it to that camera, and away from all others."""


def choose_signatures(waves: Tensor, loudness: Tensor, log_sharpness: Tensor) -> Tensor:
    """Return weights `(B, K)` of K signatures for each of B clips; they sum to 1.

    The weight of a signature grows with the sparsity of its wave's spectrum, and a little with its
    amplitude: the gain on a signature is one, so with a wrong signature the beamformer treats part
    of the pulse as noise and cancels it.

    Args:
        waves: `(B, K, T)`, each signature's wave.
        loudness: weight of the logarithm of the amplitude.
        log_sharpness: logarithm of the softmax's inverse temperature.
    """
    amplitude = 0.5 * (waves.square().mean(-1) + 1e-14).log()
    score = concentration(waves) + loudness * amplitude
    return torch.softmax(log_sharpness.exp() * score, 1)


def concentration(waves: Tensor) -> Tensor:
    """Return the concentration of a wave's `(..., T)` power in few spectral lines, in 0..1."""
    power = torch.fft.rfft(waves * torch.hann_window(waves.shape[-1], device=waves.device))
    power = power.abs().square()
    power = power / power.sum(-1, keepdim=True).clamp(min=1e-20)
    return power.square().sum(-1).sqrt()
