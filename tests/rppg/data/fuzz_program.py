"""Runs commands of `rppg` one after the other: a crash or a hang is then this process's alone.

`python fuzz_program.py CASES.json FIRST CPU_SECONDS HANG_SECONDS` prints a line of JSON for each
case from number FIRST on: its exit code (null where something was raised) and what it said. It ends
by force where one takes more time of a processor than CPU_SECONDS, whatever else the machine has to
do, or hangs for HANG_SECONDS.
"""

import contextlib
import faulthandler
import io
import json
import logging
import signal
import sys
import traceback
from pathlib import Path


def run(arguments: list[str]) -> tuple[int | None, str, str]:
    """Exit code, stdout, stderr of one command; a traceback in stderr where it has a bug."""
    from rppg.cli import main

    logging.getLogger().handlers.clear()  # they hold the stderr of the command before
    out, err = io.StringIO(), io.StringIO()
    code: int | None = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:  # noqa: BLE001  whatever comes out is what is looked for
            err.write(traceback.format_exc())
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    faulthandler.register(signal.SIGPROF, chain=True)  # prints where it is, then ends
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for case in cases[int(sys.argv[2]) :]:
        signal.setitimer(signal.ITIMER_PROF, float(sys.argv[3]))
        faulthandler.dump_traceback_later(float(sys.argv[4]), exit=True)
        sys.stdout.write(json.dumps(run(case)) + "\n")
        sys.stdout.flush()
        faulthandler.cancel_dump_traceback_later()
