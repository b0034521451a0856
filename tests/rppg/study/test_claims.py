"""One process a trial: whoever has died is taken over from, whoever lives isn't."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from rppg.study import claims
from rppg.study.claims import claim, forget_dead, owner

DEAD = subprocess.Popen([sys.executable, "-c", ""])


def write(folder: Path, number: int, *, pid: int, machine: str | None = None, age_s: float = 0.0):
    folder.mkdir(exist_ok=True)
    path = folder / f"k.{number}"
    machine = claims.machine() if machine is None else machine
    path.write_text(json.dumps({"pid": pid, "host": "h", "machine": machine}))
    now = path.stat().st_mtime
    os.utime(path, (now - age_s, now - age_s))


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    with claim(tmp_path, "k") as mine:
        assert mine and str(os.getpid()) in owner(tmp_path, "k")
        with claim(tmp_path, "k") as again:
            assert not again
        with claim(tmp_path, "other") as other:
            assert other
        assert owner(tmp_path, "k")
    assert not owner(tmp_path, "k") and not list(tmp_path.iterdir())


def test_a_dead_process_of_this_machine_is_taken_over_from_at_once(tmp_path):
    DEAD.wait()
    write(tmp_path, 0, pid=DEAD.pid)
    with claim(tmp_path, "k") as mine:
        assert mine and (tmp_path / "k.1").exists()
    assert not list(tmp_path.iterdir())


def test_another_machine_has_time_to_show_that_it_lives(tmp_path):
    write(tmp_path, 0, pid=1, machine="elsewhere", age_s=claims.DEAD_AFTER_S - 60)
    with claim(tmp_path, "k") as mine:
        assert not mine
    write(tmp_path, 0, pid=1, machine="elsewhere", age_s=claims.DEAD_AFTER_S + 60)
    with claim(tmp_path, "k") as mine:
        assert mine


def test_of_many_that_find_a_dead_claim_one_takes_over(tmp_path):
    write(tmp_path, 0, pid=1, machine="elsewhere", age_s=claims.DEAD_AFTER_S + 60)
    start, stop, won = threading.Barrier(8), threading.Barrier(8), []

    def take():
        start.wait()
        with claim(tmp_path, "k") as mine:
            won.append(mine)
            stop.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 1


def test_a_claim_is_renewed_while_its_block_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RENEW_S", 0.01)
    with claim(tmp_path, "k"):
        path = tmp_path / "k.0"
        os.utime(path, (0, 0))
        for _ in range(500):
            if path.stat().st_mtime > 0:
                return
            threading.Event().wait(0.01)
    raise AssertionError("its time stood still")


def test_a_dead_claim_on_a_finished_trial_is_removed_and_a_living_one_is_not(tmp_path):
    DEAD.wait()
    forget_dead(tmp_path, "k")
    write(tmp_path, 0, pid=1, machine="elsewhere", age_s=claims.DEAD_AFTER_S + 60)
    write(tmp_path, 1, pid=os.getpid())
    forget_dead(tmp_path, "k")
    assert len(list(tmp_path.iterdir())) == 2
    write(tmp_path, 2, pid=DEAD.pid)
    forget_dead(tmp_path, "k")
    assert not list(tmp_path.iterdir())
