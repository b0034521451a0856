"""The background beside the head as a reference for the light.

Bare skin beside the face (a shoulder, a hand, a second person) has a pulse: as a reference it would
cancel that of the face. So patches that have the face's colour are left out, unless hardly any
other is left: then it is a wall of that colour, or the frame is filled by skin.
"""

import torch
from torch import Tensor

LIKENESS, SOFTNESS = 0.10, 0.02
"""Distance in log colour up to which a patch looks like the face's skin, and the softness of this
limit. Patches of a face are 0.03–0.12 apart, mostly by shading."""
LEAST = 0.05
"""Share of the patches of a side that weighs as much as none: with fewer, its trace fades out."""
WALL, WALL_SOFTNESS = 0.15, 0.03
"""Share of patches of another colour under which the background is a wall, and its softness."""


def background_traces(
    traces: Tensor, mean: Tensor, masks: Tensor, *, walls: bool = True
) -> tuple[Tensor, Tensor]:
    """Average the background's patches on each side of the head.

    Args:
        traces: `(B, P, C, T)` band-limited traces, AC/DC units.
        mean: `(B, C, G, G)` mean frame, in patches.
        masks: `(M, P)` the patches of each side.
        walls: whether a background of the face's colour is a wall; else it is skin.

    Returns:
        Traces `(B, M, C, T)`, and how much background they are made of, `(B, M)` in 0..1.
    """
    skin = skin_likeness(mean)
    background = masks.sum(0)
    other = ((1 - skin) * background).sum(-1, keepdim=True) / background.sum()
    if walls:
        skin = skin * torch.sigmoid((other - WALL) / WALL_SOFTNESS)
    weights = masks * (1 - skin)[:, None]
    mass = weights.sum(-1)
    least = LEAST * masks.sum(-1)
    weights = weights / (mass + least)[..., None]
    return torch.einsum("bmp,bpct->bmct", weights, traces), mass / (mass + least)


def skin_likeness(mean: Tensor) -> Tensor:
    """Return how much each patch `(B, P)` has the colour of the face's middle, in 0..1.

    Colours are compared without their brightness, which varies with the shade.

    Args:
        mean: `(B, C, G, G)` mean frame, in patches.
    """
    grid = mean.shape[-1]
    level = mean.clamp(min=1e-6).log()
    colour = level - level.mean(1, keepdim=True)
    middle = colour[..., grid // 3 : grid - grid // 3, grid // 3 : grid - grid // 3]
    typical = middle.flatten(2).median(-1).values[..., None]
    distance = (colour.flatten(2) - typical).norm(dim=1)
    return torch.sigmoid((LIKENESS - distance) / SOFTNESS)
