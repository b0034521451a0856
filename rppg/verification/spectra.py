"""Spectra of waves at chosen frequencies, as real matrix products that can be exported."""

import torch
from torch import Tensor


def frequencies(low_hz: float, high_hz: float, step_hz: float, like: Tensor) -> Tensor:
    """Return frequencies `(F,)` from `low_hz` to `high_hz`, at most `step_hz` apart."""
    count = round((high_hz - low_hz) / step_hz) + 1
    return torch.linspace(low_hz, high_hz, count, dtype=like.dtype, device=like.device)


def spectrum_at(x: Tensor, hz: Tensor, fps: float) -> Tensor:
    """Return the spectrum `(..., F, 2)`, real and imaginary, of Hann-windowed waves `(..., T)`.

    Its magnitude is a sine's root mean square, at the sine's frequency.
    """
    time = x.shape[-1]
    hann = torch.hann_window(time, dtype=x.dtype, device=x.device)
    hann = hann * (2**0.5 / hann.sum())
    phase = torch.arange(time, dtype=x.dtype, device=x.device)[:, None] * (2 * torch.pi / fps) * hz
    basis = hann[:, None] * torch.cat([phase.cos(), -phase.sin()], 1)
    centred = x - x.mean(-1, keepdim=True)
    parts = torch.matmul(centred, basis).unflatten(-1, (2, len(hz)))
    return parts.mT  # apart in memory, real and imaginary parts are quick to sum


def short_time_spectrum(x: Tensor, hz: Tensor, fps: float, window_s: float) -> Tensor:
    """Return the spectra `(..., F, N, 2)` of N windows of `(..., T)`, a quarter apart."""
    length = min(round(window_s * fps), x.shape[-1])
    windows = x.unfold(-1, length, max(1, length // 4))
    return spectrum_at(windows, hz, fps).transpose(-2, -3)
