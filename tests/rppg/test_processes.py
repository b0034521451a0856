"""Worker processes: all results, in order of completion; no worker outlives its parent."""

import operator
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from rppg.processes import work_through


@pytest.mark.slow
def test_a_worker_that_dies_takes_no_other_work_with_it():
    long = range(5_000_000)  # the others are still to do, or being done, when it dies
    jobs = [partial(sum, long, n) for n in range(5)]
    jobs[1] = partial(os._exit, 3)
    done = {}
    work_through(operator.call, jobs, 2, done.__setitem__)
    assert done == {n: None if n == 1 else sum(long, n) for n in range(5)}


def test_an_error_in_a_worker_stops_the_work_and_is_raised():
    done = {}
    with pytest.raises(ZeroDivisionError):
        work_through(operator.call, [partial(divmod, 1, 0)] * 50, 2, done.__setitem__)
    assert done == {}


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    """Its workers would run the script again, and not get to their work."""
    (tmp_path / "script.py").write_text(
        "from rppg.processes import work_through\n"
        "from rppg.errors import InputError\n"
        "try:\n    work_through(abs, [1, 2, 3], 2, print)\n"
        "except InputError as error:\n    print('reported:', error)\n"
    )
    ended = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert "reported: worker processes can't be started" in ended.stdout
    assert 'if __name__ == "__main__"' in ended.stdout.splitlines()[-1]


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked for in /proc")
def test_workers_end_when_their_parent_is_killed():
    program = (
        "import time\n"
        "from functools import partial\n"
        "from operator import call\n"
        "from os import getpid\n"
        "from rppg.processes import work_through\n"
        "if __name__ == '__main__':\n"
        "    jobs = [getpid, partial(time.sleep, 60), partial(time.sleep, 60)]\n"
        "    work_through(call, jobs, 2, lambda index, result: print(result, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        worker = Path("/proc", process.stdout.readline().strip(), "stat")
        assert worker.exists()
        process.kill()
    for _ in range(100):
        if not worker.exists() or worker.read_text(encoding="ascii").rsplit(")", 1)[1][1] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker still runs")
