"""Memory and times of the current process, and its result as a line of JSON.

For processes without this package: only the standard library is imported.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def memory_mb(kind: str) -> float:
    """Return memory in MB: `VmRSS` now, `VmHWM` at its peak."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{kind}:")[1].split()[0]) / 1024


class Stopwatch:
    """Wall-clock time, and CPU time of all threads, since it was created."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def per_frame(self, frames: int) -> dict[str, float]:
        """Return milliseconds per frame."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"wall_ms": 1e3 * wall / frames, "cpu_ms": 1e3 * cpu / frames}


def print_json(value: dict[str, Any]) -> None:
    """Print a value as JSON on a new line, to be the last line of the output."""
    sys.stdout.write("\n" + json.dumps(value) + "\n")
