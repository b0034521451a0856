"""FCUS-rPPG's network: a spectrally shared backbone that beamforms the pulse out of the channels.

The stages: patches → shared attention → regional traces → cancellation of the head's motion, and,
in one of two sets of candidates, of the background's light → beamformer over a bank of pulse
signatures → mixture of the candidates that verification prefers → fusion of the regions → filter by
verification. No kernel over time is learned, so the network cannot produce a sine that is not in
its input. Its gain on a pulse is one, so the regions are in AC/DC units.
"""

import math
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rppg.frozen_config import FrozenConfig
from rppg.models import beamformer as bf
from rppg.models.background import background_traces
from rppg.models.motion import apparent_motion
from rppg.models.patches import (
    ac_dc,
    background_patches,
    band_limit,
    pool_patches,
    region_cells,
)
from rppg.models.signatures import NOMINAL_SIGNATURES
from rppg.models.skin_attention import SharedAttention
from rppg.verification import Evidence, References, apply_gain, judge, power_of

SETS = 2
"""Sets of candidates: with the background's light cancelled, and without. Where the light is
steady, cancelling costs a part of the pulse."""


class ModelConfig(FrozenConfig):
    """The network's structure; written into every checkpoint."""

    fps: float = Field(30.0, gt=0, le=1000, description="rate the network runs at, Hz")
    low_hz: float = Field(0.5, gt=0, le=20, description="low end of the pulse's band")
    high_hz: float = Field(3.3, gt=0, le=20, description="its high end")
    grid: int = Field(18, ge=12, le=128, description="patches per side of a crop")
    regions: int = Field(6, ge=1, le=32, description="regions per side of the face box")
    window_s: float = Field(5.0, ge=0.5, le=3600, description="length of a beamformer's window")
    width: int = Field(8, ge=1, le=4096, description="features of the shared encoder")
    signatures: tuple[tuple[float, ...], ...] = NOMINAL_SIGNATURES

    @model_validator(mode="after")
    def _check_band(self) -> "ModelConfig":
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz} is not below high_hz {self.high_hz}")
        return self

    @property
    def spectral_channels(self) -> int:
        """Spectral channels of the crops (3 for RGB)."""
        return len(self.signatures[0])


@dataclass(frozen=True)
class FcusOutput:
    """The network's output for a batch of clips.

    Attributes:
        regions: `(B, R, T)` BVP of each region in AC/DC units, up at systole.
        attention: `(B, R)` share of skin in each region, sums to 1.
        choice: `(B, K)` weights of the candidates in the mixture, sum to 1: all with the light
            cancelled, then all without; each time all signatures by the covariance of each region,
            then by that of the face.
        candidates: `(B, K, R, T)` the regions' BVP of each candidate, without a gradient.
        references: the traces of light and motion that waves are verified by.
    """

    regions: Tensor
    attention: Tensor
    choice: Tensor
    candidates: Tensor
    references: References

    @property
    def sets(self) -> Tensor:
        """The regions as either set of candidates has them, `(B, 2, R, T)`, without a gradient."""
        weights = self.choice.detach().unflatten(1, (SETS, -1)).clamp(min=1e-8)
        weights = weights / weights.sum(-1, keepdim=True)
        return torch.einsum("bsk,bskrt->bsrt", weights, self.candidates.unflatten(1, (SETS, -1)))


class FcusNet(nn.Module):
    """A network from clips to regional BVP.

    Example:
        >>> net = FcusNet(ModelConfig())
        >>> clips = 100 + torch.rand(2, 150, 3, 36, 36)
        >>> out = net(clips)
        >>> out.regions.shape, net.wave(out).shape
        (torch.Size([2, 36, 150]), torch.Size([2, 150]))
    """

    cells: Tensor
    background: Tensor
    signatures: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.walls = True  # a background of the face's colour is a wall, not skin
        self.attention = SharedAttention(config.grid, config.width)
        self.log_motion_floor = nn.Parameter(torch.tensor(math.log(5e-4)))
        self.log_cancel_ridge = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_ridge = nn.Parameter(torch.tensor(math.log(3e-3)))
        self.log_pooled = nn.Parameter(torch.tensor(math.log(1.0)))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(60.0)))
        self.loudness = nn.Parameter(torch.tensor(1.2))
        self.fusion_power = nn.Parameter(torch.tensor(2.0))
        signatures = nn.functional.normalize(torch.tensor(config.signatures), dim=1)
        self.register_buffer("signatures", signatures, persistent=False)
        self.register_buffer(
            "cells", region_cells(config.grid, config.regions).flatten(1), persistent=False
        )
        self.register_buffer(
            "background", background_patches(config.grid).flatten(1), persistent=False
        )

    def traces(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return band-limited patch traces `(B, P, C, T)` and the mean frame `(B, C, G, G)`."""
        c = self.config
        traces, mean = ac_dc(pool_patches(clips, c.grid))
        return band_limit(traces, c.fps, c.low_hz, c.high_hz), mean

    def forward(self, clips: Tensor) -> FcusOutput:
        """Estimate the regional BVP.

        Args:
            clips: `(B, T, C, S, S)` crops at `config.fps`, any positive scale, T ≥ 3 s.
        """
        c = self.config
        if clips.ndim != 5 or clips.shape[2] != c.spectral_channels:
            raise ValueError(
                f"clips must be (B, T, {c.spectral_channels}, S, S), found {tuple(clips.shape)}; "
                "the number of channels is set by ModelConfig.signatures"
            )
        traces, mean = self.traces(clips)
        skin = self.attention(traces, mean)  # (B, P)
        weights = skin[:, None] * self.cells
        mass = weights.sum(-1)
        weights = weights / mass.clamp(min=1e-6)[..., None]
        x = torch.einsum("brp,bpct->brct", weights, traces)
        light, seen = background_traces(traces, mean, self.background, walls=self.walls)
        motion = apparent_motion(traces, mean)
        references = References(
            light.flatten(1, 2), motion, seen.repeat_interleave(light.shape[2], 1)
        )
        both = [self._cancel_light(x, references.light), x]
        cancelled = [self._cancel_motion(part, motion) for part in both]
        # More blood, less light: up at systole.
        candidates = torch.cat([-self._beamform(part) for part in cancelled], 1)
        attention = mass / mass.sum(1, keepdim=True)
        choice = self._choose(candidates, attention, references)
        regions = torch.einsum("bk,bkrt->brt", choice, candidates)
        return FcusOutput(regions, attention, choice, candidates.detach(), references)

    def _cancel_light(self, x: Tensor, light: Tensor) -> Tensor:
        """Remove what the skin shares with background patches: light, as they carry no pulse."""
        gram = bf.load_diagonal(bf.covariance(light), self.log_cancel_ridge.exp())
        return bf.cancel_references(x, light, gram)

    def _cancel_motion(self, x: Tensor, motion: Tensor) -> Tensor:
        """Remove what the skin shares with the head's motion: changes of shade.

        Motion that is small compared with the floor (a share of the crop's side) is noise, and may
        contain a little pulse; it is not removed.
        """
        gram = bf.covariance(motion)
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return bf.cancel_references(x, motion, gram + (2 * self.log_motion_floor).exp() * eye)

    def _beamform(self, x: Tensor) -> Tensor:
        """Beamform regional traces `(B, R, C, T)` to candidates `(B, K, R, T)`.

        Each signature has two: with weights from the covariance of each region, and of the whole
        face. In dim light a region shows mostly noise of its own, which the fusion averages out
        anyway; the whole face then shows better what is to be suppressed.
        """
        c, time = self.config, x.shape[-1]
        length = min(round(c.window_s * c.fps), time - 1)
        hop = max(1, length // 4)
        windows = bf.unfold_windows(x, length, hop).transpose(2, 3)  # (B, R, N, C, L)
        centred = windows - windows.mean(-1, keepdim=True)
        face = bf.covariance(centred.mean(1, keepdim=True))
        region = bf.covariance(centred) + self.log_pooled.exp() * face
        shares = bf.window_shares(windows.shape[2], length, hop, time, x)
        mixed = []
        for found in (region, face):
            q = bf.load_diagonal(found, self.log_ridge.exp())
            weights = bf.beamformer_weights(q, self.signatures)  # (B, R or 1, N, K, C)
            # They are applied to traces with their means: removing each window's mean, as POS does,
            # would cost a slow pulse most of its power.
            mixed.append(bf.apply_weights(weights, shares, x))
        return band_limit(torch.cat(mixed, 1), c.fps, c.low_hz, c.high_hz)

    def _choose(self, candidates: Tensor, attention: Tensor, references: References) -> Tensor:
        """Return weights `(B, K)` of the candidates `(B, K, R, T)` in the mixture.

        They grow with what verification says of the candidate's wave, and a little with its
        amplitude: the gain on a signature is one, so with a wrong signature the beamformer treats
        part of the pulse as noise and cancels it.
        """
        fused = fuse(candidates, attention[:, None], self.fusion_power)
        amplitude = 0.5 * (fused.square().mean(-1) + 1e-14).log()
        line = self._judge(fused, candidates, attention, references).line
        return torch.softmax(self.log_sharpness.exp() * line + self.loudness * amplitude, 1)

    def _judge(
        self, wave: Tensor, regions: Tensor, attention: Tensor, references: References
    ) -> Evidence:
        c = self.config
        return judge(
            wave,
            references,
            c.fps,
            regions=regions,
            attention=attention,
            low_hz=c.low_hz,
            high_hz=c.high_hz,
        )

    def fuse(self, output: FcusOutput, keep: Tensor | None = None) -> Tensor:
        """Return the fused regions `(B, T)`; `keep` `(B, R, T)` in 0..1 weighs the samples."""
        return fuse(output.regions, output.attention, self.fusion_power, keep)

    def verify(self, output: FcusOutput, fused: Tensor | None = None) -> Evidence:
        """Return the evidence `(B, F)` that the fused regions are a pulse.

        Args:
            fused: `(B, T)` the fused regions, if they are at hand.
        """
        wave = self.fuse(output) if fused is None else fused
        return self._judge(wave, output.regions, output.attention, output.references)

    def line(self, output: FcusOutput) -> Tensor:
        """Return the score `(B,)` in 0..1 that a clip shows a pulse.

        It is that of `Evidence` at the frequency of the wave's peak, in the set of
        candidates where it is lower: a lamp's line is weak where the light is cancelled, and a line
        that cancelling has made is weak where it is not.
        """
        c, sets = self.config, output.sets
        _, power = power_of(self.fuse(output), c.fps, c.low_hz, c.high_hz)
        peak = power.argmax(-1)[:, None, None].expand(-1, SETS, 1)
        waves = fuse(sets, output.attention[:, None], self.fusion_power)
        evidence = self._judge(waves, sets, output.attention, output.references)
        return evidence.scores.gather(-1, peak)[..., 0].amin(1)

    def wave(self, output: FcusOutput) -> Tensor:
        """Return the BVP `(B, T)` of the face: the fused regions, filtered by their evidence."""
        fused = self.fuse(output)
        return apply_gain(fused, self.verify(output, fused), self.config.fps)


def fuse(regions: Tensor, attention: Tensor, power: Tensor, keep: Tensor | None = None) -> Tensor:
    """Return the weighted mean over regions, `(..., R, T)` to `(..., T)`.

    A region's gain on the pulse is one, so a large amplitude means noise: weights are
    attention / amplitude^power (power 2 is the inverse-variance rule). Amplitudes are those of the
    kept samples. A region that hardly varies at all (clipped, or frozen by a codec) has no signal
    rather than little noise: its amplitude counts as a tenth of the mean.
    """
    square = regions.square()
    if keep is None:
        power_kept = square.mean(-1)
    else:
        square = torch.where(keep > 0, square, 0.0)
        power_kept = (keep * square).sum(-1) / keep.sum(-1).clamp(min=1e-8)
    amplitude = (power_kept + 1e-14).sqrt()
    amplitude = (amplitude / amplitude.mean(-1, keepdim=True)).clamp(min=0.1)
    weights = attention * amplitude.pow(-power)
    if keep is None:
        mean = (weights.unsqueeze(-2) @ regions).squeeze(-2)
        return mean / weights.sum(-1, keepdim=True).clamp(min=1e-8)
    weights = weights[..., None] * keep
    regions = torch.where(keep > 0, regions, 0.0)
    return (weights * regions).sum(-2) / weights.sum(-2).clamp(min=1e-8)
