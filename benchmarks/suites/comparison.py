"""The comparison of a suite's outcomes bare and wrapped."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test.

    Args:
        result: as in pytest; an error in a fixture or in the collection is a failure.
        reason: the first line of the error, or why the test was skipped.
        wrapped: the number of optimizers that were wrapped during the test, in its own process.
    """

    result: Literal["passed", "failed", "skipped"]
    reason: str = ""
    wrapped: int = 0


Outcomes = Mapping[str, Outcome]
"""Outcomes by the name of the test."""


@dataclass(frozen=True)
class Comparison:
    """The outcomes of one suite with one wrapper, beside the bare ones.

    Args:
        suite: its name and version.
        wrapper: a name in `NEUTRAL`.
        bare: number of tests passed, failed and skipped without a wrapper; None where
            the suite has no run without one.
        wrapped: the same with it.
        wrapping: number of tests during which an optimizer was wrapped.
        broken: why each test that passes bare fails wrapped.
        repaired: tests that fail bare and pass wrapped: they are unstable, or their order matters.
        unstable: tests that failed wrapped, but not when they were repeated, or then bare as well.
        bare_failures: why tests fail bare, with their numbers.
    """

    suite: str
    wrapper: str
    bare: Mapping[str, int] | None
    wrapped: Mapping[str, int]
    wrapping: int
    broken: Mapping[str, str]
    repaired: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    bare_failures: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


RESULTS = ("passed", "failed", "skipped")


def counts(outcomes: Outcomes) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped."""
    found = Counter(outcome.result for outcome in outcomes.values())
    return {result: found[result] for result in RESULTS}


def compare(suite: str, wrapper: str, bare: Outcomes, wrapped: Outcomes) -> Comparison:
    """Compare outcomes test by test.

    A test that passes bare is broken also if it is skipped or missing wrapped.
    """
    broken, repaired = {}, []
    for name, before in bare.items():
        after = wrapped.get(name, Outcome("failed", "the run ended before this test"))
        if before.result == "passed" and after.result != "passed":
            broken[name] = after.reason
        elif before.result == "failed" and after.result == "passed":
            repaired.append(name)
    return Comparison(
        suite,
        wrapper,
        counts(bare),
        counts(wrapped),
        sum(outcome.wrapped > 0 for outcome in wrapped.values()),
        broken,
        tuple(repaired),
        bare_failures=dict(
            Counter(o.reason for o in bare.values() if o.result == "failed").most_common()
        ),
    )
