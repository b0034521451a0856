"""Other libraries' suites, bare and wrapped: `python -m benchmarks.suites --fetch`."""

import argparse
import json
import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.results import arguments, markdown_table, replace_tables, write_json
from benchmarks.suites import tests_of_others, torch_database
from benchmarks.suites.comparison import RESULTS, Comparison
from benchmarks.suites.neutral import NEUTRAL
from benchmarks.suites.sources import UnavailableError

LIBRARIES = ("torch", "accelerate", "pytorch_optimizer", "lightning")

PAGE = Path("docs/contract.md")
BEGIN, END = "<!-- suites: begin -->", "<!-- suites: end -->"

TOGETHER = ("all three", "OnePassSmoother")
"""The wrappers for the suites that take minutes: between them, each class."""

SHOWN = 20
"""The number of broken tests that are printed of each comparison; the JSON has all."""


def main() -> None:
    """Run the suites, print the table, write the JSON and the page's table."""
    options = _options()
    comparisons = stored(options.out, without=options.only)
    unavailable: dict[str, str] = {}
    with ExitStack() as stack:
        folder = options.sources
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, suite in _suites(options, folder).items():
            if name not in options.only:
                continue
            try:
                for comparison in suite():
                    comparisons.append(comparison)
                    print(f"done: {comparison.suite}, {comparison.wrapper}", flush=True)
                    write_json(options.out, as_json(comparisons, unavailable))  # hours may follow
            except UnavailableError as error:
                unavailable[name] = str(error)
    print()
    print(table(comparisons))
    print_reasons(comparisons, unavailable)
    write_json(options.out, as_json(comparisons, unavailable))
    replace_tables(options.page, table(comparisons), BEGIN, END)


def stored(path: Path, without: Collection[str]) -> list[Comparison]:
    """Return the comparisons of a results file, but for those of some libraries."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["comparisons"]
    return [Comparison(**row) for row in rows if row["library"] not in without]


def ordered(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return comparisons by their library."""
    return sorted(comparisons, key=lambda comparison: LIBRARIES.index(comparison.library))


def _options() -> argparse.Namespace:
    parser = arguments(__doc__, "suites")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=LIBRARIES,
        default=LIBRARIES,
        help="libraries whose suites to run; what the JSON has of the others is kept",
    )
    parser.add_argument(
        "--wrappers",
        nargs="+",
        choices=list(NEUTRAL),
        help="by default all for torch's database, and for the suites that take minutes "
        + " and ".join(TOGETHER),
    )
    parser.add_argument(
        "--fetch", action="store_true", help="download missing source distributions with pip"
    )
    parser.add_argument(
        "--sources",
        type=Path,
        help="the folder of source distributions (.tar.gz), kept; by default a temporary one",
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose table is replaced")
    parser.add_argument("--minutes", type=float, default=30.0, help="limit of each run of pytest")
    return parser.parse_args()


def _suites(
    options: argparse.Namespace, folder: Path
) -> dict[str, Callable[[], Iterable[Comparison]]]:
    def library(name: str, package: str) -> Callable[[], Iterable[Comparison]]:
        return lambda: tests_of_others.compare_suite(
            tests_of_others.library(
                name, package, folder, fetch=options.fetch, minutes=options.minutes
            ),
            options.wrappers or TOGETHER,
        )

    return {
        "torch": lambda: torch_database.compare_all(options.wrappers or NEUTRAL),
        "accelerate": library("accelerate", "src"),
        "pytorch_optimizer": library("pytorch_optimizer", "."),
        "lightning": lambda: tests_of_others.lightning_loops(options.minutes),
    }


def table(comparisons: Iterable[Comparison]) -> str:
    """Return one row per suite and wrapper."""
    head = ["suite", "wrapper", "bare", "wrapped", "wraps", "broken", "beyond", "unstable"]
    rows = [
        [
            *(c.suite, c.wrapper),
            *("–" if counts is None else _shown(counts) for counts in (c.bare, c.wrapped)),
            *(c.wrapping, len(c.broken), len(c.beyond), len(c.unstable) + len(c.repaired)),
        ]
        for c in ordered(comparisons)
    ]
    return markdown_table(head, rows, align=["---", "---:"])


def _shown(counts: Mapping[str, int]) -> str:
    return " / ".join(str(counts[result]) for result in RESULTS)


def print_reasons(comparisons: Iterable[Comparison], unavailable: dict[str, str]) -> None:
    """Print what was broken, what fails bare, and the suites that couldn't be run."""
    failing_bare: dict[str, dict[str, int]] = {}
    for c in comparisons:
        if c.broken:
            print(f"\n{c.suite}, {c.wrapper}: pass bare, fail wrapped:")
        for name, reason in list(c.broken.items())[:SHOWN]:
            print(f"  {name}: {reason}")
        if len(c.broken) > SHOWN:
            print(f"  and {len(c.broken) - SHOWN} more: see the JSON")
        for reason, count in Counter(c.beyond.values()).items():
            print(f"{c.suite}, {c.wrapper}: {count} × beyond the contract: {reason}")
        if changed := [*c.unstable, *c.repaired]:
            print(f"\n{c.suite}, {c.wrapper}: unstable: {', '.join(changed)}")
        failing_bare[c.suite] = dict(c.bare_failures)
    for suite, reasons in failing_bare.items():
        if reasons:
            print(f"\n{suite}: fail bare, so that they show nothing:")
        for reason, count in reasons.items():
            print(f"  {count} × {reason}")
    for name, reason in unavailable.items():
        print(f"\ncould not get {name}: {reason}")


def as_json(comparisons: Iterable[Comparison], unavailable: dict[str, str]) -> dict[str, Any]:
    """Return the contents of the results file."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("gradreg", "torch")},
        },
        "comparisons": [comparison.as_json() for comparison in ordered(comparisons)],
        "unavailable": unavailable,
    }


if __name__ == "__main__":
    main()
