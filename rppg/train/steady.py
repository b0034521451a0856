"""Against drift: the physics is tethered to its start, and an epoch ends with a mean of weights.

Each step takes a network nearer to the recordings in front of it, in two ways that nothing in the
objective undoes. The few numbers of the physics (ridges, choice, fusion) wander, all one way, to
what suits one camera: a tether pulls each back by a share of its way. And the weights shake about
where the gradients cancel, so that the last step's are an accident: their mean over an epoch's
later steps is steadier (Polyak & Juditsky, "Acceleration of stochastic approximation by averaging",
1992). A mean of weights keeps whatever all of them keep, a projector's null space, too.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Tether:
    """Pulls parameters back towards where they were when it was made.

    The pull is decoupled from the gradient, as AdamW's weight decay is (Loshchilov & Hutter, 2019),
    but towards the start in place of zero.

    Args:
        params: the parameters.
        share: of the way back, 0..1, that each goes in a step; 0 lets them wander.
    """

    def __init__(self, params: Sequence[Tensor], share: float) -> None:
        self.params = [p.detach() for p in params]
        self.share = share
        self._starts = [p.clone() for p in self.params]

    def pull(self) -> None:
        """Go a step back."""
        if self.share:
            torch._foreach_lerp_(self.params, self._starts, self.share)


class EpochMean:
    """Gives parameters, at the end of an epoch, their mean over its last steps.

    Args:
        params: the parameters.
        steps: of an epoch.
        share: of an epoch's steps, 0..1, that count; the last always does.
    """

    def __init__(self, params: Sequence[Tensor], steps: int, share: float) -> None:
        self.params = [p.detach() for p in params]
        self.steps = steps
        self.first = steps - max(1, round(share * steps))
        self._mean: list[Tensor] = []

    def update(self, step: int) -> None:
        """Count the weights after a step of the epoch, from 0; after the last, set them."""
        counted = step - self.first
        if counted == 0:
            self._mean = [p.clone() for p in self.params]
        elif counted > 0:
            torch._foreach_lerp_(self._mean, self.params, 1 / (counted + 1))
        if step == self.steps - 1:
            torch._foreach_copy_(self.params, self._mean)

    def state(self) -> list[Tensor]:
        """What to keep of it between steps; empty where nothing counts yet."""
        return self._mean

    def restore(self, state: Any) -> None:
        """Go on from a kept `state`."""
        self._mean = [kept.to(p).clone() for kept, p in zip(state, self.params, strict=bool(state))]
