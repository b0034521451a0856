"""The base class of priors: learning, saving, and combination by `&`, `|`, `~`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

PriorLike = Callable[[Tensor], Tensor]


class Prior:
    """Base class of priors: functions of the evidence that learn, are saved and combined.

    Subclasses implement `__call__`. Those that adapt to the data also implement `observe` and
    their state. Weights of different shapes, such as one for a waveform and many for its samples,
    are combined by broadcasting.

    Example:
        >>> import gradreg, torch
        >>> quiet = gradreg.WeakAmplitude(0.0, 1.0) & (lambda evidence: (evidence != 0.5).float())
        >>> quiet(torch.tensor([0.2, 0.5, 3.0])).tolist()
        [1.0, 0.0, 0.0]
    """

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return the keep weights, of the evidence's shape or with last dimension 1."""
        raise NotImplementedError

    def observe(self, evidence: Tensor) -> None:
        """Learn from the evidence of a training batch, before it is judged."""

    def synchronize(self) -> None:
        """Make what was learnt the same in all processes, once in each step in which it learnt.

        All processes call it, so that it may use collective operations.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt: tensors and primitives only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def __and__(self, other: PriorLike) -> Prior:
        return _Combined(torch.minimum, self, other)

    def __rand__(self, other: PriorLike) -> Prior:
        return _Combined(torch.minimum, other, self)

    def __or__(self, other: PriorLike) -> Prior:
        return _Combined(torch.maximum, self, other)

    def __ror__(self, other: PriorLike) -> Prior:
        return _Combined(torch.maximum, other, self)

    def __invert__(self) -> Prior:
        return _Combined(_complement, self)


def _complement(weight: Tensor) -> Tensor:
    return ~weight if weight.dtype == torch.bool else 1 - weight


class _Combined(Prior):
    """`join(a(evidence), b(evidence))`; observation and state go to both."""

    def __init__(self, join: Callable[..., Tensor], *parts: PriorLike) -> None:
        self.join, self.parts = join, parts

    def __call__(self, evidence: Tensor) -> Tensor:
        return self.join(*(part(evidence) for part in self.parts))

    def observe(self, evidence: Tensor) -> None:
        for part in self.parts:
            if isinstance(part, Prior):
                part.observe(evidence)

    def synchronize(self) -> None:
        for part in self.parts:
            if isinstance(part, Prior):
                part.synchronize()

    def state_dict(self) -> dict[str, Any]:
        return {
            str(i): part.state_dict()
            for i, part in enumerate(self.parts)
            if isinstance(part, Prior)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, part in enumerate(self.parts):
            if isinstance(part, Prior) and str(i) in state:
                part.load_state_dict(state[str(i)])
