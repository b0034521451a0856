"""The comparison of a suite's outcomes bare and wrapped."""

import re
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
        library: whose suite it is, as on the command line.
        suite: the suite's name and version.
        wrapper: a name in `NEUTRAL`.
        bare: number of tests passed, failed and skipped without a wrapper; None where
            the suite has no run without one.
        wrapped: the same with it.
        wrapping: number of tests during which an optimizer was wrapped.
        broken: why each test that passes bare fails wrapped, without those of `beyond`.
        beyond: why tests that pass bare fail wrapped where they use an attribute that only the
            optimizer's own class has. A wrapper shows the optimizer as `base`.
        repaired: tests that fail bare and pass wrapped: they are unstable, or their order matters.
        unstable: tests that failed wrapped, but not when they were repeated, or then bare as well.
        bare_failures: why tests fail bare, with their numbers.
    """

    library: str
    suite: str
    wrapper: str
    bare: Mapping[str, int] | None
    wrapped: Mapping[str, int]
    wrapping: int
    broken: Mapping[str, str]
    beyond: Mapping[str, str] = field(default_factory=dict)
    repaired: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    bare_failures: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


_WRAPPERS = "PostVerificationMask|PerturbationSmoother|OnePassSmoother|NullSpaceProjector"
_MISSING = re.compile(rf"AttributeError: '(?:{_WRAPPERS})' object has no attribute '(\w+)'")


def asks_beyond(reason: str) -> bool:
    """Return whether an error is of a wrapper that lacks what no `torch.optim.Optimizer` has."""
    found = _MISSING.search(reason)
    if found is None:
        return False
    import torch  # noqa: PLC0415  # the plugin, which imports this module, runs before it

    return not hasattr(torch.optim.Optimizer, found[1])


RESULTS = ("passed", "failed", "skipped")


def counts(outcomes: Outcomes) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped."""
    found: Counter[str] = Counter(outcome.result for outcome in outcomes.values())
    return {result: found[result] for result in RESULTS}


def compare(
    library: str, suite: str, wrapper: str, bare: Outcomes, wrapped: Outcomes
) -> Comparison:
    """Compare outcomes test by test; the names are `Comparison`'s.

    A test that passes bare is broken also if it is skipped or missing wrapped.
    """
    broken: dict[str, str] = {}
    beyond: dict[str, str] = {}
    repaired = []
    for name, before in bare.items():
        after = wrapped.get(name, Outcome("failed", "the run ended before this test"))
        if before.result == "passed" and after.result != "passed":
            (beyond if asks_beyond(after.reason) else broken)[name] = after.reason
        elif before.result == "failed" and after.result == "passed":
            repaired.append(name)
    return Comparison(
        library,
        suite,
        wrapper,
        counts(bare),
        counts(wrapped),
        sum(outcome.wrapped > 0 for outcome in wrapped.values()),
        broken,
        beyond,
        tuple(repaired),
        bare_failures=dict(
            Counter(o.reason for o in bare.values() if o.result == "failed").most_common()
        ),
    )
