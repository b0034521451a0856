"""PhysNet: a 3-D convolutional network from face clips to waves.

Spatio-temporal convolutions between spatial poolings, four times; optionally at half and a quarter
of the frame rate, and back; then the mean over space, whole or by quadrants, and a mixture of the
features. Its processing over time is entirely learned: unlike FCUS-rPPG's, its output has no unit
and no defined sign, and it contains no fixed filter.

References: Yu, Li and Zhao, "Remote photoplethysmograph signal measurement from facial videos using
spatio-temporal networks", BMVC 2019; its variants in Speth et al., CVPR 2023 (SiNC) and Sun and Li,
ECCV 2022 (Contrast-Phys).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from rppg.frozen_config import FrozenConfig

STAGES = 4
"""Spatial poolings, each by two."""


class PhysNetConfig(FrozenConfig):
    """The network's structure and its input; written into every checkpoint.

    The defaults are SiNC's, but for the side, which was 64.
    """

    fps: float = Field(30.0, gt=0, description="rate the network runs at, Hz")
    channels: int = Field(3, ge=1, description="spectral channels of the crops")
    side: int = Field(32, ge=16, description="side of a frame, pixels")
    face_scale: float = Field(1.2, gt=0, le=1.5, description="side of a frame in face boxes")
    scaling: Literal["fixed", "standard"] = Field(
        "fixed", description="pixels / 255, or each clip's channels to mean 0 and variance 1"
    )
    width: int = Field(64, ge=2, multiple_of=2, description="features; the first layer has half")
    taps: int = Field(5, ge=1, description="frames that a kernel spans, odd")
    halvings: int = Field(0, ge=0, le=2, description="times the frame rate is halved within")
    pooling: Literal["max", "average"] = "max"
    activation: Literal["relu", "elu"] = "relu"
    padding: Literal["replicate", "zeros"] = "replicate"
    dropout: float = Field(0.5, ge=0, lt=1)
    spatial: int = Field(1, ge=1, le=2, description="regions per side: 1, or 2 for four waves")

    @model_validator(mode="after")
    def _fits(self) -> "PhysNetConfig":
        if self.side < 2**STAGES * self.spatial:
            raise ValueError(
                f"a side of {self.side} is pooled away; {self.spatial} regions per side need "
                f"{2**STAGES * self.spatial} or more"
            )
        if self.taps % 2 == 0:
            raise ValueError(f"taps = {self.taps}; give an odd number")
        return self


class Pool(nn.Module):
    """A maximum or mean over 2 × 2 pixels, or over 2 × 2 × 2 if the rate is halved.

    Pooled in two dimensions and then in time, which gives the same as PyTorch's pooling in three,
    several times faster on a CPU.
    """

    def __init__(self, kind: Literal["max", "average"], *, halve: bool) -> None:
        super().__init__()
        self.kind, self.halve = kind, halve

    def forward(self, x: Tensor) -> Tensor:
        """Pool `(B, C, T, H, W)` to `(B, C, T or T // 2, H // 2, W // 2)`."""
        batch = len(x)
        frames = x.transpose(1, 2).flatten(0, 1)
        largest = self.kind == "max"
        frames = F.max_pool2d(frames, 2) if largest else F.avg_pool2d(frames, 2)
        pooled = frames.unflatten(0, (batch, -1)).transpose(1, 2)
        if not self.halve:
            return pooled
        even = 2 * (pooled.shape[2] // 2)
        one, two = pooled[:, :, 0:even:2], pooled[:, :, 1:even:2]
        return torch.maximum(one, two) if largest else (one + two) / 2


class PhysNet(nn.Module):
    """A network from clips to waves.

    Example:
        >>> net = PhysNet(PhysNetConfig(width=8, spatial=2)).eval()
        >>> clips = 255 * torch.rand(2, 61, 3, 32, 32)
        >>> net(clips).shape  # the waves of four quadrants and, last, their mean
        torch.Size([2, 5, 61])
    """

    def __init__(self, config: PhysNetConfig) -> None:
        super().__init__()
        self.config = config
        c, width = config, config.width
        self.stem = self._convolution(c.channels, width // 2, (1, 5, 5))
        kernel = (c.taps, 3, 3)
        stages = []
        for n in range(STAGES):
            stage = nn.Sequential(
                Pool(c.pooling, halve=1 <= n <= c.halvings),
                self._convolution(width // 2 if n == 0 else width, width, kernel),
                self._convolution(width, width, kernel),
                nn.Dropout3d(c.dropout),
            )
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.decoders = nn.ModuleList(
            self._convolution(width, width, (3, 1, 1)) for _ in range(c.halvings)
        )
        self.mix = nn.Conv3d(width, 1, 1)

    def _convolution(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Module:
        c = self.config
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        return nn.Sequential(
            nn.Conv3d(inputs, outputs, kernel, padding=padding, padding_mode=c.padding),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True) if c.activation == "relu" else nn.ELU(inplace=True),
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Return waves `(B, N, T)` of clips `(B, T, C, S, S)` in 0–255 at `config.fps`.

        N is 1, or 5: four regions and, last, their mean. Units and sign are arbitrary.
        """
        c = self.config
        if clips.ndim != 5 or clips.shape[2:] != (c.channels, c.side, c.side):
            raise ValueError(
                f"clips must be (B, T, {c.channels}, {c.side}, {c.side}), found "
                f"{tuple(clips.shape)}"
            )
        if clips.shape[1] < 2**c.halvings:
            raise ValueError(f"clips of {clips.shape[1]} frames; give {2**c.halvings} or more")
        x = self._scaled(clips.transpose(1, 2))
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))  # faster on CPUs
        lengths = []
        for stage in self.stages:
            before = x.shape[2]
            x = stage(x)
            if x.shape[2] != before:
                lengths.append(before)
        for decoder, length in zip(self.decoders, reversed(lengths), strict=True):
            x = decoder(_doubled(x, length))
        x = self.mix(F.adaptive_avg_pool3d(x, (x.shape[2], c.spatial, c.spatial)))
        waves = x[:, 0].flatten(2).transpose(1, 2)
        return torch.cat([waves, waves.mean(1, keepdim=True)], 1) if c.spatial > 1 else waves

    def _scaled(self, x: Tensor) -> Tensor:
        """Return clips `(B, C, T, S, S)` scaled for the first layer."""
        if self.config.scaling == "fixed":
            return x / 255
        deviation, mean = torch.std_mean(x, (2, 3, 4), keepdim=True)
        return (x - mean) / deviation.clamp(min=1e-6)


def _doubled(x: Tensor, length: int) -> Tensor:
    """Repeat every frame of `(B, C, T, H, W)`, and the last once more if `length` is odd."""
    doubled = x.repeat_interleave(2, 2)
    missing = length - doubled.shape[2]
    return torch.cat([doubled, doubled[:, :, -1:]], 2) if missing else doubled
