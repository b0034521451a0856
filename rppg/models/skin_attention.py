"""Skin attention: the patches that carry a pulse, found by appearance and temporal variation."""

import torch
from torch import Tensor, nn

from rppg.models.patches import face_prior


class SharedAttention(nn.Module):
    """Skin attention from features that are computed with the same weights in every channel.

    Channels are folded into the batch, encoded by one small 2-D network, and pooled by their mean
    and standard deviation: the network accepts any number of channels, and generalises from one to
    all. Before training the attention is `face_prior`.
    """

    def __init__(self, grid: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(4, width, 3, padding=1, padding_mode="replicate"),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
            nn.GELU(),
        )
        self.head = nn.Conv2d(2 * width, 1, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        prior = face_prior(grid).clamp(1e-4, 1 - 1e-4)
        self.register_buffer("prior_logit", torch.logit(prior), persistent=False)

    def forward(self, traces: Tensor, mean: Tensor) -> Tensor:
        """Compute the attention of each patch.

        Args:
            traces: `(B, P, C, T)` band-limited traces, AC/DC units.
            mean: `(B, C, G, G)` mean frame, in patches.

        Returns:
            `(B, P)` in 0..1.
        """
        batch, channels = mean.shape[:2]
        features = self.encoder(appearance(traces, mean).flatten(0, 1))
        features = features.unflatten(0, (batch, channels))
        pooled = torch.cat([features.mean(1), features.std(1)], 1)
        logit = self.head(pooled)[:, 0] + self.prior_logit
        return torch.sigmoid(logit).flatten(1)


def appearance(traces: Tensor, mean: Tensor) -> Tensor:
    """Return features `(B, C, 4, G, G)` of patches, per channel, each of about unit size.

    Brightness relative to the mean frame's, contrast with the neighbours, in-band amplitude
    relative to the mean over patches, and covariation: the correlation of the channel with the mean
    of all channels.
    """
    grid = mean.shape[-1]
    level = mean.clamp(min=1e-6).log()
    level = level - level.mean((-2, -1), keepdim=True)
    blurred = nn.functional.avg_pool2d(level, 3, 1, 1, count_include_pad=False)
    power = traces.square().mean(-1)
    amplitude = (power.sqrt() + 1e-6).log()
    amplitude = amplitude - amplitude.mean(1, keepdim=True)
    common = traces.mean(2, keepdim=True)
    covariance = (traces * common).mean(-1)
    scale = (power * common.square().mean(-1)).sqrt() + 1e-12
    temporal = torch.stack([amplitude, covariance / scale], 2)  # (B, P, 2, C)
    temporal = temporal.unflatten(1, (grid, grid)).permute(0, 4, 3, 1, 2)
    spatial = torch.stack([level, 5 * (level - blurred)], 2)
    return torch.cat([spatial, temporal], 2)
