"""A pytest plugin that writes each test's outcome to a file as soon as it is known.

So a run that hangs or dies still shows what it did: `python -m pytest -p
benchmarks.suites.outcomes_plugin`.
"""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.suites.comparison import Outcome
from benchmarks.suites.substitution import wrapped_so_far

FILE = "GRADREG_SUITES_OUTCOMES"
"""The environment variable with the name of the file."""

LONGEST_REASON = 240

_wrapped_before: dict[str, int] = {}


def read_outcomes(file: Path) -> dict[str, Outcome]:
    """Return the outcomes in a file by the name of the test; a failed phase makes it failed."""
    outcomes: dict[str, Outcome] = {}
    if not file.exists():
        return outcomes
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name = row.pop("name")
        if name not in outcomes or row["result"] == "failed":
            outcomes[name] = Outcome(**row)
    return outcomes


def pytest_runtest_logstart(nodeid: str) -> None:
    """Remember how many optimizers were wrapped before the test."""
    _wrapped_before[nodeid] = wrapped_so_far()


def pytest_runtest_logreport(report: Any) -> None:
    """Write the outcome of the test, or of a set-up or tear-down that didn't pass."""
    if report.when == "call" or report.outcome != "passed":
        _write(report, wrapped_so_far() - _wrapped_before.get(report.nodeid, 0))


def pytest_collectreport(report: Any) -> None:
    """Write the failure of a file that can't be imported."""
    if report.outcome == "failed":
        _write(report, 0)


def _write(report: Any, wrapped: int) -> None:
    row = {
        "name": report.nodeid,
        "result": report.outcome,
        "reason": _reason(report)[:LONGEST_REASON],
        "wrapped": wrapped,
    }
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _reason(report: Any) -> str:
    """Return the first line of the error's message, or why the test was skipped."""
    if report.outcome == "passed":
        return ""
    shown = report.longrepr
    if isinstance(shown, tuple):  # file, line, why
        return str(shown[2])
    crash = getattr(shown, "reprcrash", None)
    text = crash.message if crash is not None else str(shown)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return str(lines[0] if crash is not None else lines[-1]).strip()
