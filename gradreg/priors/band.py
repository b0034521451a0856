"""A prior on waveforms: the signal's power is in a known frequency band."""

from __future__ import annotations

import torch
from torch import Tensor

from gradreg.priors.base import Prior


class BandEnergy(Prior):
    r"""A prior that keeps waveforms whose power lies in a band.

    .. math::
        r = \frac{\sum_{low \le f \le high} |X_f|^2}{\sum_f |X_f|^2}, \qquad
        k = [\,r \ge min\_ratio\,]

    with X the Fourier transform of the waveform minus its mean, with a Hann window, over positive
    and negative frequencies. A waveform without any power is rejected.

    The evidence is a waveform (..., T), T samples; the weight has shape (..., 1).

    Args:
        low_hz: lower edge of the band, inclusive.
        high_hz: upper edge, inclusive.
        fps: samples per second.
        min_ratio: share of the power that the band must hold, in (0, 1].
        soft: relative width of the edge: the weight falls linearly from 1 at min_ratio to 0 at
            min_ratio·(1 - soft); 0 is a hard edge.

    Raises:
        ValueError: a band that is empty or above the Nyquist frequency, a ratio or width out of
            range; on use, waveforms too short to have a frequency inside the band.
        TypeError: on use, complex waveforms.

    Example:
        >>> import gradreg, torch
        >>> t = torch.arange(150) / 30  # five seconds at 30 frames per second
        >>> pulse, drift = torch.sin(2 * torch.pi * 1.2 * t), torch.sin(2 * torch.pi * 0.2 * t)
        >>> prior = gradreg.BandEnergy(0.7, 3.0, fps=30, min_ratio=0.5)
        >>> prior(torch.stack([pulse, drift, 0.2 * pulse + drift])).squeeze(-1).tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(
        self, low_hz: float, high_hz: float, fps: float, min_ratio: float, *, soft: float = 0.0
    ) -> None:
        if not 0 <= low_hz < high_hz <= fps / 2:
            raise ValueError(
                f"expected 0 <= low_hz < high_hz <= fps / 2, found low_hz = {low_hz}, "
                f"high_hz = {high_hz}, fps = {fps}: the band lies below the Nyquist frequency"
            )
        if not 0 < min_ratio <= 1:
            raise ValueError(f"expected a share of the power 0 < min_ratio <= 1, found {min_ratio}")
        if not 0 <= soft <= 1:
            raise ValueError(f"expected a relative width 0 <= soft <= 1, found {soft}")
        self.low_hz, self.high_hz, self.fps = low_hz, high_hz, fps
        self.min_ratio, self.soft = min_ratio, soft

    def ratio(self, evidence: Tensor) -> Tensor:
        """Return the share of the power inside the band, of shape (..., 1); NaN without power."""
        if evidence.is_complex():
            raise TypeError(
                f"BandEnergy expects real waveforms, found {evidence.dtype}: pass their real part "
                "or their modulus"
            )
        length = evidence.shape[-1]
        bins = range(length // 2 + 1 if length > 1 else 0)
        inside = [self.low_hz <= k * self.fps / length <= self.high_hz for k in bins]
        if not any(inside):
            raise ValueError(
                f"waveforms of {length} samples have no frequency between {self.low_hz} and "
                f"{self.high_hz} Hz at {self.fps} samples a second: give longer ones, or evidence "
                "whose last dimension is time"
            )
        x = evidence if evidence.dtype == torch.float64 else evidence.float()
        if x.numel() == 0:  # which some FFTs refuse
            return x.new_empty(*x.shape[:-1], 1)
        window = torch.hann_window(length, dtype=x.dtype, device=x.device)
        power = torch.fft.rfft((x - x.mean(-1, keepdim=True)) * window).abs().square()
        twice = torch.full_like(power[..., :1], 2.0).expand_as(power).clone()
        twice[..., 0] = 1  # zero and Nyquist frequency have no negative counterpart
        if length % 2 == 0:
            twice[..., -1] = 1
        power = power * twice
        total = power.sum(-1, keepdim=True)
        # The rounding error of a constant is not power.
        rounding = 4 * torch.finfo(x.dtype).eps * x.abs().amax(-1, keepdim=True)
        silent = total <= rounding.square() * length * window.square().sum()
        band = power[..., torch.tensor(inside, device=x.device)].sum(-1, keepdim=True)
        return torch.where(silent, torch.nan, band / total)

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return one weight per waveform, of shape (..., 1)."""
        ratio = self.ratio(evidence)
        if self.soft == 0:
            return (ratio >= self.min_ratio).to(ratio.dtype)
        return (1 + (ratio / self.min_ratio - 1) / self.soft).clamp(0, 1).nan_to_num(nan=0.0)
