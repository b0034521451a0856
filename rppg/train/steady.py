"""Counters against drift over epochs: a tether to the start, and a mean of an epoch's weights.

Each step fits the network more closely to the current recordings, in two ways that no term of the
objective counters. The few parameters of the physics (ridges, choice, fusion) drift steadily
towards what suits one camera: a tether moves each back by a share of the distance. And the weights
fluctuate where the gradients cancel, so that the last step's weights are arbitrary: their mean over
an epoch's later steps is steadier (Polyak & Juditsky, "Acceleration of stochastic approximation by
averaging", 1992). A mean of weights preserves whatever each of them preserves, such as a
projector's null space.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Tether:
    """A pull of parameters towards their values at construction.

    The pull is decoupled from the gradient, as AdamW's weight decay is (Loshchilov & Hutter, 2019),
    but towards the start instead of zero.

    Args:
        params: the parameters.
        share: share of the distance to the start, 0..1, that each moves back in a step; 0 switches
            the tether off.
    """

    def __init__(self, params: Sequence[Tensor], share: float) -> None:
        self.params = [p.detach() for p in params]
        self.share = share
        self._starts = [p.clone() for p in self.params]

    def pull(self) -> None:
        """Move the parameters back by one step's share."""
        if self.share:
            torch._foreach_lerp_(self.params, self._starts, self.share)


class EpochMean:
    """A mean of parameters over an epoch's last steps, which they are set to at its end.

    Args:
        params: the parameters.
        steps: number of steps in an epoch.
        share: share of an epoch's steps, 0..1, that are averaged; the last one always is.
    """

    def __init__(self, params: Sequence[Tensor], steps: int, share: float) -> None:
        self.params = [p.detach() for p in params]
        self.steps = steps
        self.first = steps - max(1, round(share * steps))
        self._mean: list[Tensor] = []

    def update(self, step: int) -> None:
        """Include the weights after a step of the epoch, from 0; set them after the last one."""
        index = step - self.first
        if index == 0:
            self._mean = [p.clone() for p in self.params]
        elif index > 0:
            torch._foreach_lerp_(self._mean, self.params, 1 / (index + 1))
        if step == self.steps - 1:
            torch._foreach_copy_(self.params, self._mean)

    def state(self) -> list[Tensor]:
        """Return what to save between steps; empty before the first averaged step."""
        return self._mean

    def restore(self, state: Any) -> None:
        """Continue from a saved `state`."""
        self._mean = [mean.to(p).clone() for mean, p in zip(state, self.params, strict=bool(state))]
