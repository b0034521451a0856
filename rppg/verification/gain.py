"""Filtering of a wave by its evidence."""

import torch
from torch import Tensor

from rppg.verification.evidence import Evidence


def apply_gain(wave: Tensor, evidence: Evidence, fps: float) -> Tensor:
    """Weigh each frequency of a wave by its gain: a Wiener filter.

    Where the regions agree and no reference explains the wave, the gain is one. Frequencies outside
    of the evidence's band are removed. The signal is extended by mirroring before the transform.

    Args:
        wave: `(..., T)`.
        evidence: of this wave.
        fps: sampling rate in Hz.

    Returns:
        `(..., T)`.
    """
    time = wave.shape[-1]
    pad = min(time - 1, round(fps))
    padded = torch.cat(
        [wave[..., 1 : pad + 1].flip(-1), wave, wave[..., -pad - 1 : -1].flip(-1)], -1
    )
    hz = torch.fft.rfftfreq(padded.shape[-1], 1 / fps, dtype=wave.dtype, device=wave.device)
    low, step = evidence.hz[0], evidence.hz[1] - evidence.hz[0]
    inside = (hz >= low) & (hz <= evidence.hz[-1])
    position = ((hz - low) / step).clamp(0, len(evidence.hz) - 1)
    left = position.floor().long().clamp(max=len(evidence.hz) - 2)
    gain = evidence.gain
    gain = torch.lerp(gain[..., left], gain[..., left + 1], (position - left).to(wave.dtype))
    return torch.fft.irfft(torch.fft.rfft(padded) * (gain * inside), padded.shape[-1])[
        ..., pad : pad + time
    ]
