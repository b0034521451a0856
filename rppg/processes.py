"""Work in processes of its own, which never outlive this one and never leave a file half-written.

`concurrent.futures` alone would do neither: its workers wait for ever where their parent is killed,
and one that dies takes the work of all others with it.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_ends
from typing import TypeVar

import torch

from rppg.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")

WRITING = threading.Lock()
"""Held while a file is written: a worker that is told to end does so before or after, not amid."""


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def work_through(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    done: Callable[[int, Result | None], None],
) -> None:
    """Do each job, in this process where `workers` or the jobs are one, else in up to so many.

    An error raised by `work`, or an interrupt, stops all.

    Args:
        work: a function of a module, since other processes import it.
        done: told the place of a job and its result, in the order in which they are ready; None
            where there was no memory for it, or the process that did it, and it alone, died.

    Raises:
        InputError: processes can't be started.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for place, job in enumerate(jobs):
            done(place, _within_memory(work, job))
        return
    waiting = deque(enumerate(jobs))
    while waiting:
        for place in _together(work, waiting, workers, done):
            # Which of them its process died of isn't known: each has another try, alone.
            if _together(work, deque([(place, jobs[place])]), 1, done):
                done(place, None)


def _within_memory(work: Callable[[Job], Result], job: Job) -> Result | None:
    try:
        return work(job)
    except MemoryError:
        return None


def _together(
    work: Callable[[Job], Result],
    waiting: deque[tuple[int, Job]],
    workers: int,
    done: Callable[[int, Result | None], None],
) -> list[int]:
    """Do waiting jobs in processes, until one dies: the places of the jobs under way then."""
    context = get_context("spawn")  # forks of a process with threads hang
    ended, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(ended,))
    running: dict[Future[Result], int] = {}
    lost: list[int] = []
    broken = False
    try:
        with _interrupts_wait():
            started = pool.submit(os.getpid)
        while running or (waiting and not broken):
            with _interrupts_wait():
                broken = broken or not _fill(pool, work, waiting, running, workers)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    broken = True
                    lost.append(place)
                except MemoryError:  # another try, with all the memory that there is
                    lost.append(place)
                else:
                    done(place, result)
        if broken and started.exception() is not None:
            raise InputError(
                "worker processes can't be started; in a script of yours, put what it does under "
                'if __name__ == "__main__":, or use workers=1'
            )
    finally:
        alive.close()
        pool.shutdown(cancel_futures=True)
        ended.close()
    return sorted(lost)


def _fill(
    pool: ProcessPoolExecutor,
    work: Callable[[Job], Result],
    waiting: deque[tuple[int, Job]],
    running: dict[Future[Result], int],
    workers: int,
) -> bool:
    """Give each worker a job, and none to queue for them; whether the workers are alive."""
    while waiting and len(running) < workers:
        place, job = waiting[0]
        try:
            running[pool.submit(work, job)] = place
        except BrokenProcessPool:
            return False
        waiting.popleft()
    return True


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C waits; processes started meanwhile never see it: they end when this one says so."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(ended: Connection) -> None:
    """In a worker: end when the other process closes its side of the pipe, or is no more."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: _watch([]))
    _watch([ended])


def _watch(ends: list[Connection]) -> None:
    threading.Thread(target=_end_after, args=(ends,), daemon=True).start()


def _end_after(ends: list[Connection]) -> None:
    if ends:
        wait_for_ends(ends)
    with WRITING:
        os._exit(1)
