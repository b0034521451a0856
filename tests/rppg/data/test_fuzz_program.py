"""The limits of the fuzz program: the time of a processor counts, not that of a loaded machine."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fuzz_program.py")
STUB = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("program", sys.argv.pop(1))
source = open(spec.origin).read().replace("run(case)", "eval(case)")
exec(compile(source, spec.origin, "exec"), {"__name__": "__main__"})
"""


def run(tmp_path: Path, case: str, cpu_s: float, hang_s: float) -> subprocess.CompletedProcess[str]:
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps([case]))
    limits = [str(cases), "0", str(cpu_s), str(hang_s)]
    return subprocess.run(
        [sys.executable, "-c", STUB, str(PROGRAM), *limits],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_waiting_for_a_processor_is_no_fault(tmp_path):
    assert run(tmp_path, "__import__('time').sleep(1)", 0.5, 600).stdout == "null\n"


@pytest.mark.parametrize(
    ("case", "cpu_s", "hang_s", "code"),
    [
        ("sum(iter(int, 1))", 0.5, 600, -signal.SIGPROF),
        ("__import__('time').sleep(500)", 100, 0.5, 1),
    ],
)
def test_what_never_ends_is_ended(tmp_path, case, cpu_s, hang_s, code):
    ended = run(tmp_path, case, cpu_s, hang_s)
    assert ended.returncode == code
    assert "most recent call first" in ended.stderr
