"""What a mask kept: in one pass, in one step, and in all steps so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gradreg.distributed import is_initialized


@dataclass(frozen=True)
class MaskStep:
    """The counts of one step.

    Args:
        kept: kept weight as a fraction of what was verified, in the passes whose gradient the
            step uses; 0 if the first pass kept nothing; None if nothing was verified.
        skipped: whether the step was skipped because nothing passed.
        gradients: fraction of the gradient's non-zero entries that the gradient prior kept; None
            without a gradient prior or without such entries.
        passes: kept fraction of each pass with verifications: several under a two-pass smoother.
    """

    kept: float | None
    skipped: bool
    gradients: float | None = None
    passes: tuple[float, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class MaskStats:
    """The counts of all steps in which something was verified or a gradient was judged.

    Args:
        steps: number of these steps.
        skipped: how many of them were skipped.
        kept: mean of their `MaskStep.kept`; None before the first.
        gradients: mean of their `MaskStep.gradients`; None before the first.
    """

    steps: int
    skipped: int
    kept: float | None
    gradients: float | None = None


@dataclass
class Verification:
    """One call of `verify`."""

    kept: Tensor  # summed weight
    count: int
    pass_: int  # number of the pass, from 0
    used: bool | None = False  # whether its backward pass has run; None if there can be none


def without_skipped(verifications: Sequence[Verification]) -> list[Verification]:
    """Return the verifications without those whose batch the loop skipped before its backward pass.

    They are the ones with no backward pass where others of the same pass have had theirs.
    """
    used = {v.pass_ for v in verifications if v.used}
    return [v for v in verifications if v.used is not False or v.pass_ not in used]


def count_kept(
    verifications: Sequence[Verification], entries: Tensor | None
) -> tuple[dict[int, float], dict[int, float], list[float]]:
    """Sum over all processes what was kept; the one host synchronisation of a step.

    Args:
        verifications: those of this step.
        entries: how many entries of the gradient were non-zero before and after a gradient prior;
            None without one.

    Returns:
        Kept weight and number of weights by pass, and the entries.
    """
    passes = sorted({v.pass_ for v in verifications})
    device = entries.device if entries is not None else verifications[0].kept.device
    by_pass = [[v for v in verifications if v.pass_ == pass_] for pass_ in passes]
    counts = [float(sum(v.count for v in calls)) for calls in by_pass]
    rest = torch.zeros(2, device=device) if entries is None else entries.float()
    totals = torch.stack(
        [
            *(torch.stack([v.kept.to(device) for v in calls]).sum() for calls in by_pass),
            *(rest.new_full((), count) for count in counts),
            *rest,
        ]
    )
    if is_initialized():
        dist.all_reduce(totals)
    values, n = totals.tolist(), len(passes)
    kept = dict(zip(passes, values[:n], strict=True))
    return kept, dict(zip(passes, values[n : 2 * n], strict=True)), values[2 * n :]


@dataclass
class Mean:
    """A running mean that leaves out missing numbers."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        """Add a number; None is missing."""
        if value is not None:
            self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float | None:
        """The mean; None before the first number."""
        return self.total / self.count if self.count else None


@dataclass
class Counter:
    """Running counts of a mask's steps."""

    steps: int = 0
    skipped: int = 0
    kept: Mean = field(default_factory=Mean)
    gradients: Mean = field(default_factory=Mean)

    def add(self, step: MaskStep, *, counts: bool) -> None:
        """Add a step; `counts` is whether something was verified or judged in it."""
        self.steps += counts
        self.skipped += step.skipped
        self.kept.add(step.kept)
        self.gradients.add(step.gradients)

    @property
    def stats(self) -> MaskStats:
        """The counts so far."""
        return MaskStats(self.steps, self.skipped, self.kept.value, self.gradients.value)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        state: dict[str, Any] = {"steps": self.steps, "skipped": self.skipped}
        for name, mean in (("kept", self.kept), ("gradients", self.gradients)):
            state |= {name: mean.total, f"{name}_steps": mean.count}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Counter:
        """Restore what `state_dict` returned."""
        return cls(
            state["steps"],
            state["skipped"],
            # Earlier versions verified something in every step they counted.
            Mean(state["kept"], state.get("kept_steps", state["steps"])),
            Mean(state.get("gradients", 0.0), state.get("gradients_steps", 0)),
        )
