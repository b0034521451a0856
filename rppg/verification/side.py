"""The side of the face on which a wave is stronger.

The blood of both halves of a face pulses by the same share of its light. A lamp from one side that
flickers, and a head that turns, change one half more than the other, and always the same one.
"""

import torch
from torch import Tensor

from rppg.verification.evidence import TINY, region_weights


@torch.no_grad()
def side_difference(
    wave: Tensor, regions: Tensor, attention: Tensor, rate_hz: Tensor, fps: float
) -> Tensor:
    """Return (left − right) / (left + right) of waves' amplitude in the face's halves, in −1..1.

    The amplitude of a half is its regions' mean at the wave's rate, in phase with the wave.

    Args:
        wave: `(B, T)`, any units.
        regions: `(B, R, T)` waves of the face's regions in one unit, the rows of a square lattice.
        attention: `(B, R)` the regions' shares of the skin.
        rate_hz: `(B,)` the waves' rates.
        fps: sampling rate in Hz.

    Returns:
        `(B,)`.
    """
    time, side = wave.shape[-1], round(regions.shape[1] ** 0.5)
    seconds = torch.arange(time, dtype=wave.dtype, device=wave.device) / fps
    hann = torch.hann_window(time, dtype=wave.dtype, device=wave.device)
    basis = torch.polar(hann.expand(len(wave), -1), -2 * torch.pi * rate_hz[:, None] * seconds)

    def at_rate(x: Tensor) -> Tensor:
        return torch.einsum("b...t,bt->b...", (x - x.mean(-1, keepdim=True)).to(basis), basis)

    reference = at_rate(wave)[:, None]
    amplitude = at_rate(regions) * reference.conj() / (reference.abs() + TINY)
    weights = region_weights(regions, attention).unflatten(1, (side, side))
    weighted = weights * amplitude.unflatten(1, (side, side))
    left, right = (
        weighted[..., half].sum((1, 2)) / (weights[..., half].sum((1, 2)) + TINY)
        for half in (slice(0, side // 2), slice(side - side // 2, None))
    )
    return (left - right).real / (left.abs() + right.abs() + TINY)
