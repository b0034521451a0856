"""Claims of the difference between the mask and another arm, and whether they hold."""

from dataclasses import dataclass

from benchmarks.study.output import Claim
from benchmarks.study.statistics import Interval


@dataclass(frozen=True)
class Comparison:
    """The mask less another arm, in one metric.

    Attributes:
        mask: name of the mask's arm.
        unit: of the metric.
        larger_is_better: whether the mask should be above the other arm.
    """

    mask: str
    unit: str
    larger_is_better: bool


@dataclass(frozen=True)
class DifferenceClaim:
    """The mask less another arm is at least `limit`, with a share `dead` of the recordings.

    At most, where smaller is better.

    Attributes:
        excludes_zero: whether the interval must also exclude zero, and the corrected p-value be
            below 0.05. If not, the claim is of the mean alone.
    """

    dead: float
    other: str
    limit: float
    excludes_zero: bool = False

    @property
    def null(self) -> float:
        """What the p-value is against: zero for a gain, the limit for a cost."""
        return 0.0 if self.excludes_zero else self.limit


def judge_difference(
    claim: DifferenceClaim,
    comparison: Comparison,
    effect: Interval | None,
    p: float,
    *,
    asked: bool,
    note: str = "",
) -> Claim:
    """Return whether a claim holds.

    Args:
        claim: the claim.
        comparison: what is compared.
        effect: the difference; None if no pair of trainings is left.
        p: its p-value, corrected.
        asked: whether the study is large enough.
        note: what else is to be said of what was found.
    """
    relation, side = (">=", "above") if comparison.larger_is_better else ("<=", "below")
    text = (
        f"{claim.dead:g} dead: {comparison.mask} less {claim.other} "
        f"{relation} {claim.limit:+g} {comparison.unit}"
    )
    text += f", interval {side} zero (Holm, 0.05)" if claim.excludes_zero else " in the mean"
    holds = effect is not None and _holds(claim, comparison, effect, p)
    return judged(text, effect, p, holds=holds, asked=asked, note=note)


def _holds(claim: DifferenceClaim, comparison: Comparison, effect: Interval, p: float) -> bool:
    if comparison.larger_is_better:
        reached, excludes_zero = effect.mean >= claim.limit, effect.low > 0
    else:
        reached, excludes_zero = effect.mean <= claim.limit, effect.high < 0
    return reached and (not claim.excludes_zero or (excludes_zero and p < 0.05))


def judged(
    text: str, effect: Interval | None, p: float, *, holds: bool, asked: bool, note: str = ""
) -> Claim:
    """Return a claim with the effect that was found and its corrected p-value."""
    if effect is None:
        return Claim(text, "not measured", None)
    return Claim(text, f"{effect}, corrected p {p:.3f}{note}", holds if asked else None)
