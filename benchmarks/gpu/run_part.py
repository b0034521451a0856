"""One part, in its own process: `python -m benchmarks.gpu.run_part NAME DEVICE KIND SECONDS FILE`.

`benchmarks.gpu.parts` starts it.
"""

import importlib
import signal
import sys
from pathlib import Path

from benchmarks.gpu.parts import LEFT_OUT, LeftOutError, Setting
from benchmarks.gpu.stand_ins import AbsentPackageError, install

GRACE_S = 5.0
"""A part that outlives its parent, which would have ended it at its limit, ends so long after."""

install()  # here, so that worker processes, which import this module first, have stand-ins, too


def main() -> None:
    """Run the part; exit with `LEFT_OUT`, and the reason as the last line, if it can't run here."""
    name, device, kind, limit_s, file = sys.argv[1:]
    signal.setitimer(signal.ITIMER_REAL, float(limit_s) + GRACE_S)
    setting = Setting(device, kind == "dry", float(limit_s), Path(file))
    try:
        importlib.import_module(f"benchmarks.gpu.{name}").measure(setting)
    except (LeftOutError, AbsentPackageError) as error:
        sys.stderr.write(f"\n{error}\n")
        sys.exit(LEFT_OUT)


if __name__ == "__main__":
    main()
