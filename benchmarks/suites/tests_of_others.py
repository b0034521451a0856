"""The tests of other libraries, and this project's own with Lightning, as suites for pytest."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.suites.comparison import Comparison, Outcome, compare, counts
from benchmarks.suites.pytest_run import PROJECT, PytestRun, PytestSuite, run
from benchmarks.suites.sources import UnavailableError, is_importable, unpacked

LOOPS = "tests/gradreg/integration/test_lightning.py"
KINDS = {
    "test_a_trainer_trains_as_a_plain_loop_does": "automatic and manual optimization",
    "test_accumulated_batches": "accumulation",
    "test_clipping_acts_on_the_gradient_that_makes_the_step": "clipping",
    "test_bfloat16": "AMP, bfloat16",
    "test_float16_with_a_scaler": "AMP, float16 with a scaler",
    "test_training_goes_on_from_a_checkpoint": "resume",
    "test_without_the_callback_training_goes_on_exactly_too": "resume",
}
"""What each test function of the loops is about."""


def library(name: str, package: str, folder: Path, *, fetch: bool, minutes: float) -> PytestSuite:
    """Return the tests of a library's source distribution, which run that same library.

    Args:
        name: of the distribution, with underscores.
        package: the folder in it that is imported from.
        folder: see `sources.unpacked`, also for `fetch`.
        minutes: a run's limit.

    Raises:
        UnavailableError: there is no source distribution, or it holds no tests.
    """
    root = unpacked(name, folder, fetch=fetch)
    if not any(root.glob("tests/**/test_*.py")):
        raise UnavailableError(f"the source distribution {root.name} holds no tests")
    # The resolved paths: the tests run in another working folder.
    paths = [(root / package).resolve()]
    if not is_importable("parameterized"):  # of tests of Accelerate
        try:
            paths.append(unpacked("parameterized", folder, fetch=fetch).resolve())
        except UnavailableError as error:
            print(f"{name}: some test files can't be imported without parameterized: {error}")
    label = " ".join(root.name.rsplit("-", 1))
    return PytestSuite(name, label, root, ["tests"], paths, minutes)


def compare_suite(suite: PytestSuite, wrappers: Iterable[str]) -> Iterator[Comparison]:
    """Run a suite bare, then with each wrapper.

    Tests that pass bare and fail wrapped are repeated, both bare and wrapped: what doesn't fail
    again, or fails bare as well, is unstable.

    Raises:
        UnavailableError: the bare run couldn't be finished.
    """
    bare = run(suite, None)
    if bare.trouble:
        raise UnavailableError(f"the bare run {bare.trouble}")
    for wrapper in wrappers:
        wrapped = run(suite, wrapper)
        found = compare(suite.library, suite.name, wrapper, bare.outcomes, wrapped.outcomes)
        if wrapped.trouble:
            print(f"{suite.name}, {wrapper}: the run {wrapped.trouble}")
        yield _without_unstable(suite, wrapper, found)


def _without_unstable(suite: PytestSuite, wrapper: str, found: Comparison) -> Comparison:
    if not found.broken:
        return found
    again: list[PytestRun] = [run(suite, which, found.broken) for which in (None, wrapper)]
    passed = [
        {name for name, outcome in repeated.outcomes.items() if outcome.result == "passed"}
        for repeated in again
    ]
    broken = {
        name: reason
        for name, reason in found.broken.items()
        if name in passed[0] and name not in passed[1]
    }
    return replace(found, broken=broken, unstable=tuple(found.broken.keys() - broken.keys()))


def lightning_loops(minutes: float) -> list[Comparison]:
    """Run the project's loops with Lightning's `Trainer`; return one comparison per kind of loop.

    They compare each wrapper with a loop written by hand, so nothing runs bare.

    Raises:
        UnavailableError: Lightning isn't installed, or this isn't the project's repository.
    """
    if not is_importable("lightning"):
        raise UnavailableError("lightning isn't installed; the `integration` extra has it")
    if not (PROJECT / LOOPS).exists():
        raise UnavailableError(f"found no {LOOPS}: run it from the project's repository")
    done = run(PytestSuite("lightning", "", PROJECT, [LOOPS], minutes=minutes), None)
    if done.trouble:
        raise UnavailableError(f"the run {done.trouble}")
    return [
        Comparison(
            "lightning",
            f"lightning {version('lightning')}, {kind}",
            "each, and nested",
            None,
            counts(outcomes),
            sum(outcome.result == "passed" for outcome in outcomes.values()),
            {name: o.reason for name, o in outcomes.items() if o.result == "failed"},
        )
        for kind, outcomes in _by_kind(done.outcomes).items()
    ]


def _by_kind(outcomes: dict[str, Outcome]) -> dict[str, dict[str, Outcome]]:
    groups: dict[str, dict[str, Outcome]] = {}
    for name, outcome in outcomes.items():
        function = name.rpartition("::")[2].partition("[")[0]
        groups.setdefault(KINDS.get(function, "other"), {})[name] = outcome
    return groups
