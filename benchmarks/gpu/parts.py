"""The parts of the benchmark, each in a process with a limit; partial results survive its end."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.results import write_json
from rppg.errors import one_line
from rppg.json_values import finite_or_null

ROOT = Path(__file__).parents[2]
LEFT_OUT = 3
"""Exit code of a part that can't run here, with the reason as the last line of its errors."""
REST_S = 1e9

LIMITS_S = {
    "checks": 60.0,
    "cuda_tests": 100.0,
    "epochs": 110.0,
    "prediction": 50.0,
    "published": REST_S,
}
"""The parts in their order, modules of this package, and how long each may take; the last one takes
whatever the others leave."""


class LeftOutError(Exception):
    """A part that can't run here; the message is the reason."""


@dataclass(frozen=True)
class Setting:
    """What a part's process is told.

    Attributes:
        device: where to compute: `cuda`, or in a dry run `cpu`.
        dry: whether to use tiny sizes, which show only that everything runs.
        limit_s: seconds after which the process is killed.
        file: where it saves its result.
        started_s: when it started, by the monotonic clock.
    """

    device: str
    dry: bool
    limit_s: float
    file: Path
    started_s: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.started_s + self.limit_s - time.monotonic()

    def save(self, result: Any) -> None:
        """Save what is measured so far; it counts if the process ends here."""
        write_json(self.file, finite_or_null(result), allow_nan=False)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of a piece of work; if it raises, `error`, so that the others go on."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # a device may raise anything
        return {"error": f"{type(error).__name__}: {one_line(error, limit=300)}"}


@dataclass(frozen=True)
class PartResult:
    """The result of a part.

    Attributes:
        status: whether it ran to its end, was stopped at its limit, failed, or can't run here.
        seconds: how long it took.
        reason: why it isn't complete; empty if it is.
        result: what it saved; None if nothing.
    """

    status: Literal["complete", "stopped", "failed", "left out"]
    seconds: float
    reason: str
    result: Any


def run_part(name: str, *, device: str, dry: bool, limit_s: float) -> PartResult:
    """Run a part in a process of its own, and end it at the limit."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        errors = Path(folder) / "errors.txt"
        words = [name, device, "dry" if dry else "full", f"{limit_s:.1f}", str(file)]
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.run_part", *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            stopped = False
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                stopped = True
            finally:
                _end(process)
        lines = errors.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no message")
        result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    seconds = round(time.monotonic() - started, 1)
    if stopped:
        return PartResult("stopped", seconds, f"its limit of {limit_s:.0f} s", result)
    if process.returncode == LEFT_OUT:
        return PartResult("left out", seconds, last, result)
    if process.returncode:
        return PartResult("failed", seconds, last, result)
    return PartResult("complete", seconds, "", result)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
