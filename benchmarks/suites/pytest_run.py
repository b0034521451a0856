"""One run of pytest in processes of its own, bare or with every optimizer wrapped."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.suites.comparison import Outcome
from benchmarks.suites.outcomes_plugin import FILE, read_outcomes
from benchmarks.suites.substitution import WRAPPER

PROJECT = Path(__file__).parents[2]
STARTUP = Path(__file__).parent / "startup"


@dataclass(frozen=True)
class PytestSuite:
    """Tests that pytest runs.

    Args:
        library: whose tests they are.
        name: of the suite, with its version.
        root: working folder; names of tests are relative to it.
        tests: files and folders in it.
        paths: further folders to import from.
        minutes: a run's limit; what it hasn't reached by then counts as missing.
    """

    library: str
    name: str
    root: Path
    tests: Sequence[str]
    paths: Sequence[Path] = ()
    minutes: float = 30.0


@dataclass(frozen=True)
class PytestRun:
    """The outcomes of one run.

    Args:
        outcomes: by the name of the test.
        trouble: why the run as a whole isn't to be relied on; empty if it ended normally.
    """

    outcomes: dict[str, Outcome]
    trouble: str = ""


def run(suite: PytestSuite, wrapper: str | None, only: Iterable[str] = ()) -> PytestRun:
    """Run a suite's tests.

    Models and data sets aren't downloaded: tests that need some fail, bare and wrapped.

    Args:
        suite: the tests.
        wrapper: a name in `NEUTRAL`; bare if None.
        only: names of tests; all if empty.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcomes.jsonl"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--color=no", "--override-ini=addopts="),
            *("-p", "no:cacheprovider", "-p", "benchmarks.suites.outcomes_plugin"),
            *(only or suite.tests),
        ]
        code, output = _run(command, suite, _environment(suite, wrapper, file))
        outcomes = {
            name: replace(outcome, reason=outcome.reason.replace(f"{suite.root.resolve()}/", ""))
            for name, outcome in read_outcomes(file).items()
        }
    if code is None:
        return PytestRun(outcomes, f"was stopped after {suite.minutes:g} minutes")
    if code not in (0, 1):  # all passed; some failed
        lines = [line for line in output.splitlines() if line.strip()]
        return PytestRun(outcomes, f"ended with exit code {code}: {(lines or ['no output'])[-1]}")
    return PytestRun(outcomes)


def _environment(suite: PytestSuite, wrapper: str | None, file: Path) -> dict[str, str]:
    paths = [STARTUP, *suite.paths, PROJECT]
    return {
        **{key: value for key, value in os.environ.items() if key != WRAPPER},
        # Commands that a test starts by name belong to this Python.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        FILE: str(file),
        **({WRAPPER: wrapper} if wrapper is not None else {}),
    }


def _run(
    command: Sequence[str], suite: PytestSuite, environment: dict[str, str]
) -> tuple[int | None, str]:
    """Return the exit code, None after the limit, and the output; leave no process behind."""
    process = subprocess.Popen(
        command,
        cwd=suite.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=60 * suite.minutes)
    except subprocess.TimeoutExpired:
        _end(process)
        return None, ""
    except BaseException:
        _end(process)
        raise
    return process.returncode, output


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
