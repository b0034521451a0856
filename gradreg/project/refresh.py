"""When bases are computed anew: after new observations, at most once in so many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gradreg.distributed import from_first_process, has_several_processes
from gradreg.project.selection import Selection
from gradreg.project.weight import ProtectedWeight


class RefreshSchedule:
    """The steps since bases were computed, and whether something was observed since.

    Attributes:
        since: steps since the last computation; None before the first.
        stale: whether something was observed since.
    """

    def __init__(self) -> None:
        self.since: int | None = None
        self.stale = False

    def is_due(self, every: int) -> bool:
        """Return whether bases are to be computed, at most once in `every` steps."""
        return self.stale and (self.since is None or self.since >= every)

    def count_step(self) -> None:
        """Count a step."""
        if self.since is not None:
            self.since += 1

    def restart(self) -> None:
        """Start anew, since bases were computed."""
        self.stale, self.since = False, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule as the projector's state contains it."""
        return {"since_refresh": self.since, "stale": self.stale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; other entries of `state` are ignored."""
        self.since, self.stale = state["since_refresh"], state["stale"]


def refresh_bases(weights: Sequence[ProtectedWeight], selection: Selection) -> None:
    """Compute the bases by the present summaries; all processes use the first one's."""

    def compute() -> list[Tensor]:
        return [weight.compute_basis(selection) for weight in weights]

    if has_several_processes():
        bases = from_first_process(compute, [weight.basis for weight in weights])
    else:
        bases = compute()
    for weight, basis in zip(weights, bases, strict=True):
        weight.basis = basis
