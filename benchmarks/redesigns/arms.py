"""The redesigns and their controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Arm:
    """The settings of a training, the same for each method.

    Attributes:
        batch_size: clips in a batch.
        falling: whether the learning rate falls as a half cosine to zero, in place of staying.
        late_rho: whether the smoother is on, from the middle step on.
        project: what the projector's basis is of: `noise` (the background), `contrastive` (the
            background where it dominates the face), or None without a projector.
        dead_gradients: whether updates stay out of the span of the gradients of dead clips.
        trained: whether it is trained at all.
    """

    batch_size: int = 4
    falling: bool = False
    late_rho: bool = False
    project: Literal["noise", "contrastive"] | None = None
    dead_gradients: bool = False
    trained: bool = True


ARMS: Mapping[str, Arm] = {
    "untrained": Arm(trained=False),
    "plain": Arm(),
    "projector": Arm(project="noise"),
    "contrastive": Arm(project="contrastive"),
    "falling": Arm(falling=True),
    "late_rho": Arm(falling=True, late_rho=True),
    "batch8": Arm(batch_size=8),
    "dead_gradients": Arm(batch_size=8, dead_gradients=True),
}

COMPARISONS = (
    ("late_rho", "falling"),
    ("contrastive", "projector"),
    ("contrastive", "plain"),
    ("dead_gradients", "batch8"),
)
"""Each redesign and a control that differs from it in one thing."""

DEAD_RECORDINGS = 16
"""Recordings without a pulse, of the training domain's train split."""
DEAD_BATCH = 4
"""Clips behind one gradient."""
DEAD_BATCHES = 8
"""Gradients that the updates stay orthogonal to."""
REFRESH_STEPS = 10
"""Steps after which these gradients are computed anew."""
