"""The side of the face on which a wave is stronger.

The blood of both halves of a face pulses by the same share of its light. A lamp from one side that
flickers, and a head that turns, change one half more than the other, and always the same one.
"""

import torch
from torch import Tensor

from rppg.verification.evidence import TINY, region_weights


@torch.no_grad()
def side_difference(regions: Tensor, attention: Tensor, rate_hz: Tensor, fps: float) -> Tensor:
    """Return (left − right) / (left + right) of the amplitudes in the halves of a face, in −1..1.

    The amplitude of a half is its regions' mean at the given rate, in phase with that of both.

    Args:
        regions: `(B, R, T)` waves of the face's regions in one unit, the rows of a square lattice.
        attention: `(B, R)` the regions' shares of the skin.
        rate_hz: `(B,)` the rates.
        fps: sampling rate in Hz.

    Returns:
        `(B,)`.
    """
    time, side = regions.shape[-1], round(regions.shape[1] ** 0.5)
    seconds = torch.arange(time, dtype=regions.dtype, device=regions.device) / fps
    hann = torch.hann_window(time, dtype=regions.dtype, device=regions.device)
    basis = torch.polar(hann.expand(len(regions), -1), -2 * torch.pi * rate_hz[:, None] * seconds)
    centred = regions - regions.mean(-1, keepdim=True)
    amplitude = torch.einsum("brt,bt->br", centred.to(basis), basis)
    weights = region_weights(regions, attention).unflatten(1, (side, side))
    weighted = weights * amplitude.unflatten(1, (side, side))
    left, right = (
        weighted[..., half].sum((1, 2)) / (weights[..., half].sum((1, 2)) + TINY)
        for half in (slice(0, side // 2), slice(side - side // 2, None))
    )
    both = left + right
    in_phase = ((left - right) * both.conj()).real / (both.abs() + TINY)
    return in_phase / (left.abs() + right.abs() + TINY)
