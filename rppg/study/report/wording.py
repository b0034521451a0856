"""How the sections of a study's report word numbers, counts and marks."""

import math
from collections.abc import Iterable, Sequence

from rppg.report.columns import MISSING, number
from rppg.report.trained_on import MARK
from rppg.study.tables.means import Mean

ALL = "all"
"""Heading of what is over all datasets."""
COUNTS = "n: windows (people)."


def limits(low: float, high: float, digits: int = 2) -> str:
    """Return `1.20 to 3.40`; empty if undefined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def counts(windows: int, subjects: int) -> str:
    """Return `n = 480 (40)`."""
    return f"n = {windows} ({subjects})"


def percent(share: float) -> str:
    """Return `62 %`."""
    return f"{100 * share:.0f} %" if math.isfinite(share) else MISSING


def marked(text: str, seen: int) -> str:
    """Return the text, with the mark of what was trained on a tested recording."""
    return f"{text} {MARK}" if seen else text


def many(count: int, what: str) -> str:
    """Return `1 seed`, `3 seeds`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def trials_behind(mean: Mean) -> str:
    """Return how many training sets and seeds are behind a mean: `3 training sets, 2 seeds`."""
    parts = [many(mean.n_training_sets, "training set")] if mean.n_training_sets else []
    parts += [many(mean.n_seeds, "seed")] if mean.seeded else []
    return ", ".join(parts)


def seen_notes(means: Iterable[Mean]) -> list[str]:
    """Return a line for each mean over recordings of which some were trained on."""
    return [
        f"{MARK} {mean.label} on {mean.test}: {many(mean.seen, 'tested recording')} in its "
        "training data."
        for mean in means
        if mean.seen and mean.test
    ]


def columns_of(names: Iterable[str], datasets: Sequence[str]) -> list[str]:
    """Return the datasets that occur, in the study's order, and "" for all at the end."""
    present = set(names)
    return [name for name in (*datasets, "") if name in present]
