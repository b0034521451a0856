"""Warnings of the projector, once each: what it doesn't protect, or may harm."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from gradreg.project.coverage import Coverage
from gradreg.project.layers import CoveredLayers
from gradreg.project.update import PendingChange
from gradreg.project.weight import ProtectedWeight

IDLE_STEPS = 100
"""The projector warns after so many steps without an observation."""

MISSED_SHARE = 0.1
"""It warns if more than this share of the trained weights isn't protected."""

NAMED = 5
"""Number of weights that this warning names."""


class OneTimeWarnings:
    """The warnings of a projector that were not given yet.

    Args:
        number_of_parameters: of the optimizer.
    """

    def __init__(self, number_of_parameters: int) -> None:
        self._idle_steps = 0
        self._number_of_parameters = number_of_parameters
        self._checked_coverage = False
        self._warned_of_signal = False

    def count_idle_step(self, *, idle_by_choice: bool) -> None:
        """Count a step in which nothing was projected, and warn of many, unless it was chosen."""
        self._idle_steps += 1
        if self._idle_steps == IDLE_STEPS and not idle_by_choice:
            warnings.warn(
                f"NullSpaceProjector has made {IDLE_STEPS} steps and projected nothing, since no "
                "noise was observed: run the model inside `with opt.observe_noise():`, or call "
                "opt.protect(...)",
                stacklevel=2,
            )

    def follow(self, number_of_parameters: int) -> None:
        """Have the coverage checked again if the optimizer has got other parameters."""
        if number_of_parameters != self._number_of_parameters:
            self._number_of_parameters = number_of_parameters
            self._checked_coverage = False

    def check_coverage(self, coverage_now: Callable[[], Coverage]) -> None:
        """Warn if much of what is trained isn't protected and wasn't left out."""
        if self._checked_coverage:
            return
        self._checked_coverage = True
        coverage = coverage_now()
        if coverage.missed_share > MISSED_SHARE:
            largest = sorted(coverage.missed, key=lambda p: -p.size)[:NAMED]
            warnings.warn(
                f"NullSpaceProjector does not protect {coverage.missed_share:.0%} of the trained "
                "weights: "
                + "; ".join(f"{p.name} ({p.reason})" for p in largest)
                + (" ..." if len(coverage.missed) > NAMED else "")
                + ". The model's response to noise may move by them: see print(opt.coverage()), or "
                "leave them out with exclude=",
                stacklevel=2,
            )

    def check_signal(
        self,
        pending: Sequence[PendingChange],
        weights: Mapping[Tensor, ProtectedWeight],
        layers: CoveredLayers,
    ) -> None:
        """Warn if a layer's response may only shrink, and could be that to the signal.

        Args:
            pending: the changes that will be projected in mode `release`.
            weights: all that were observed, by parameter.
            layers: those that the projector covers.
        """
        if self._warned_of_signal:
            return
        projected = {change.weight for change in pending}
        unknown = [
            layers.describe(parameter)
            for parameter, weight in weights.items()
            if weight in projected and weight.dim is None and weight.signal is None
        ]
        if unknown:
            self._warned_of_signal = True
            warnings.warn(
                f"NullSpaceProjector in mode 'release' has observed noise but no signal at "
                f"{', '.join(unknown)}: if their noise spans the signal too, the response to it "
                "can only shrink and training loses it; run the model on the signal inside `with "
                "opt.observe_signal():`, leave these layers out with exclude=, or use 'freeze'",
                stacklevel=2,
            )
