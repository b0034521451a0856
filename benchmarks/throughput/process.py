"""A process looked at from within, without any package: memory, clocks, one JSON line to tell."""

import json
import sys
import time
from pathlib import Path
from typing import Any


def memory_mb(kind: str) -> float:
    """Memory in MB: `VmRSS` now, `VmHWM` at its peak."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{kind}:")[1].split()[0]) / 1024


class Stopwatch:
    """Wall-clock and CPU time of all threads since it was started."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def per_frame(self, frames: int) -> dict[str, float]:
        """Milliseconds a frame."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"wall_ms": 1e3 * wall / frames, "cpu_ms": 1e3 * cpu / frames}


def tell(found: dict[str, Any]) -> None:
    """The last line of the output."""
    sys.stdout.write("\n" + json.dumps(found) + "\n")
