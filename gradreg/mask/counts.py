"""What a mask keeps count of: verifications within a step, results of a step and of all steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class MaskStep:
    """What the mask did in one step.

    Args:
        kept: kept weight as a fraction of what was verified, in the passes whose gradient the
            step uses, and 0 if the first pass kept nothing; None if nothing was verified.
        skipped: whether the step was skipped, since nothing passed.
        gradients: fraction of the gradient's entries other than zero that the gradient prior
            left so; None without a gradient prior or without such entries.
        passes: kept fraction of each pass with verifications: several under a two-pass smoother.
    """

    kept: float | None
    skipped: bool
    gradients: float | None = None
    passes: tuple[float, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class MaskStats:
    """What the mask did in all steps in which something was verified or a gradient judged.

    Args:
        steps: their number.
        skipped: how many of them were skipped.
        kept: mean of their `MaskStep.kept`; None before the first.
        gradients: mean of their `MaskStep.gradients`; None before the first.
    """

    steps: int
    skipped: int
    kept: float | None
    gradients: float | None = None


@dataclass
class Verified:
    """One call of `verify`."""

    kept: Tensor  # summed weight
    count: int
    turn: int  # the pass it was verified in
    used: bool = False  # its backward pass has run


@dataclass
class Mean:
    """A running mean of the numbers that are known."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        """Take in one more; None is no number."""
        if value is not None:
            self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float | None:
        """The mean; None before the first."""
        return self.total / self.count if self.count else None
