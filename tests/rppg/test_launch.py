"""The console script where the extra is not installed."""

import subprocess
import sys

HIDE = """
import sys
sys.modules["typer"] = None  # as if it were not installed
from rppg.__main__ import main
main()
"""


def test_a_missing_extra_is_named_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", HIDE], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["rppg: typer is not installed; pip install 'gradreg[rppg]'"]
