"""Apparent motion of the head, measured from the crops: a reference for its effect on the light.

A head that moves by d changes a patch's light by −∇I · d. Edges of the face, eyes and hair show it
in every channel, and the pulse does not follow the gradient of the image. So the head's motion can
be measured from the patches by least squares, and its share in the skin traces removed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rppg.models.patches import face_prior

KINDS = 4
"""Shift to the right, shift down, growth, rotation in the image plane."""


def apparent_motion(traces: Tensor, mean: Tensor) -> Tensor:
    """Estimate the motion of the head in its crop.

    Least squares over the patches on and around the face and over all channels. A change of
    brightness of the face and of the background in each channel is estimated along with it, so that
    a pulse or a lamp does not count as motion.

    Args:
        traces: `(B, P, C, T)` band-limited traces, AC/DC units.
        mean: `(B, C, G, G)` mean frame, in patches.

    Returns:
        `(B, 4, T)`: shifts as shares of the crop's side; growth and rotation as the shift that they
        cause at the crop's edge.
    """
    grid = mean.shape[-1]
    level = mean.mean((2, 3), keepdim=True).clamp(min=1e-6)  # per channel: no colour of the light
    face = face_prior(grid).to(mean)
    around = face_prior(grid, scale=1.08).to(mean)
    patterns = torch.cat([-_gradients(mean), _brightness(mean, face)], 1) / level[:, None]
    patterns = (patterns * around.sqrt()).flatten(2)  # (B, M, C·P)
    changes = (traces.permute(0, 2, 1, 3) * (mean / level).flatten(2)[..., None]) * (
        around.sqrt().flatten()[:, None]
    )
    gram = patterns @ patterns.mT
    gram = gram + torch.diag_embed(1e-3 * gram.diagonal(dim1=-2, dim2=-1) + 1e-9)
    return torch.linalg.solve(gram, patterns @ changes.flatten(1, 2))[:, :KINDS]


def _gradients(mean: Tensor) -> Tensor:
    """Return the negative change of the image `(B, 4, C, G, G)` for a unit of each motion."""
    grid = mean.shape[-1]
    padded = F.pad(mean, (1, 1, 1, 1), mode="replicate")
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * grid / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * grid / 2
    axis = (2 * torch.arange(grid).to(mean) + 1) / grid - 1  # −1..1 over the crop
    x, y = axis[None, :], axis[:, None]
    return torch.stack([right, down, x * right + y * down, x * down - y * right], 1)


def _brightness(mean: Tensor, face: Tensor) -> Tensor:
    """Return the face, and the background, in one channel each: `(B, 2C, C, G, G)`."""
    channels = torch.eye(mean.shape[1]).to(mean)[None, :, :, None, None]
    return torch.cat([channels * (mean * mask)[:, None] for mask in (face, 1 - face)], 1)
