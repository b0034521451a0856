"""Apparent motion of the head, told from the crops: a reference for what moving does to the light.

A head that moves by d changes a patch's light by −∇I · d. Edges of the face, eyes and hair show it
in every channel, and the pulse does not follow the picture's gradient; so the head's motion can be
measured from the patches by least squares, and what the skin traces share with it taken away.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rppg.models.patches import face_prior

KINDS = 4
"""Shift to the right, shift down, growth, turn in the picture's plane."""


def apparent_motion(traces: Tensor, mean: Tensor) -> Tensor:
    """How the head moves in its crop.

    Least squares over the patches on and around the face and over all channels, together with a
    change of brightness of the face and of what is beside it in each channel: a pulse or a lamp
    is then not taken for motion.

    Args:
        traces: `(B, P, C, T)` band-limited traces, AC/DC units.
        mean: `(B, C, G, G)` mean picture.

    Returns:
        `(B, 4, T)`: shifts as shares of the crop's side; growth and turn as the shift that they
        are at the crop's edge.
    """
    grid = mean.shape[-1]
    level = mean.mean((2, 3), keepdim=True).clamp(min=1e-6)  # the light has no colour of its own
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
    """Change of the picture `(B, 4, C, G, G)` for a unit of each kind of motion, reversed."""
    grid = mean.shape[-1]
    padded = F.pad(mean, (1, 1, 1, 1), mode="replicate")
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * grid / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * grid / 2
    axis = (2 * torch.arange(grid).to(mean) + 1) / grid - 1  # −1..1 over the crop
    x, y = axis[None, :], axis[:, None]
    return torch.stack([right, down, x * right + y * down, x * down - y * right], 1)


def _brightness(mean: Tensor, face: Tensor) -> Tensor:
    """The face, and what is beside it, in one channel each: `(B, 2C, C, G, G)`."""
    channels = torch.eye(mean.shape[1]).to(mean)[None, :, :, None, None]
    return torch.cat([channels * (mean * place)[:, None] for place in (face, 1 - face)], 1)
