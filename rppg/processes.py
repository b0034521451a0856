"""Worker processes that end with their parent and never leave a file half-written.

`concurrent.futures` alone ensures neither: its workers wait forever if their parent is killed, and
one worker that dies discards the work of all others.
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
from multiprocessing.connection import wait as wait_for_connections
from typing import TypeVar

import torch

from rppg.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")

WRITING = threading.Lock()
"""Hold this lock while writing a file. A worker that has to end does so before or after, but never
during the write."""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def work_through(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    done: Callable[[int, Result | None], None],
) -> None:
    """Run `work` on every job, in up to `workers` processes, and hand over results as they finish.

    With one worker or one job, everything runs in this process. Worker processes end when this
    process ends, even if it is killed. Each uses one torch thread. An error raised by `work`, or an
    interrupt, stops everything.

    Args:
        work: a function at the top level of a module, since the workers import it.
        jobs: arguments of `work`, which must be picklable.
        workers: the largest number of processes.
        done: called in this process with a job's index and result, in order of completion. The
            result is None if there was not enough memory for the job, or if its process died, in
            both cases after the job was retried alone.

    Raises:
        InputError: worker processes can't be started.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for index, job in enumerate(jobs):
            done(index, _none_without_memory(work, job))
        return
    waiting = deque(enumerate(jobs))
    while waiting:
        for index in _run_pool(work, waiting, workers, done):
            # We can't tell which job killed its worker, so each is retried alone.
            if _run_pool(work, deque([(index, jobs[index])]), 1, done):
                done(index, None)


def _none_without_memory(work: Callable[[Job], Result], job: Job) -> Result | None:
    try:
        return work(job)
    except MemoryError:
        return None


def _run_pool(
    work: Callable[[Job], Result],
    waiting: deque[tuple[int, Job]],
    workers: int,
    done: Callable[[int, Result | None], None],
) -> list[int]:
    """Run waiting jobs in worker processes until none is left or a worker dies.

    Returns:
        Indices of the jobs to retry: those that were running when a worker died, and those that
        ran out of memory.
    """
    context = get_context("spawn")  # a forked process with threads can hang
    parent_ended, parent_alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(parent_ended,))
    running: dict[Future[Result], int] = {}
    to_retry: list[int] = []
    broken = False
    try:
        with _interrupts_blocked():
            started = pool.submit(os.getpid)
        while running or (waiting and not broken):
            with _interrupts_blocked():
                broken = broken or not _fill(pool, work, waiting, running, workers)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    broken = True
                    to_retry.append(index)
                except MemoryError:  # retried with all the memory that there is
                    to_retry.append(index)
                else:
                    done(index, result)
        if broken and started.exception() is not None:
            raise InputError(
                "worker processes can't be started; in a script of yours, put what it does under "
                'if __name__ == "__main__":, or use workers=1'
            )
    finally:
        parent_alive.close()
        pool.shutdown(cancel_futures=True)
        parent_ended.close()
    return sorted(to_retry)


def _fill(
    pool: ProcessPoolExecutor,
    work: Callable[[Job], Result],
    waiting: deque[tuple[int, Job]],
    running: dict[Future[Result], int],
    workers: int,
) -> bool:
    """Give each idle worker one job, with none queued. Return whether the workers are alive."""
    while waiting and len(running) < workers:
        index, job = waiting[0]
        try:
            running[pool.submit(work, job)] = index
        except BrokenProcessPool:
            return False
        waiting.popleft()
    return True


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C. Processes started inside never receive it: they end when this process asks."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent_ended: Connection) -> None:
    """Set up a worker: it ends when the parent closes its side of the pipe, or has ended."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: _end_in_thread([]))
    _end_in_thread([parent_ended])


def _end_in_thread(connections: list[Connection]) -> None:
    threading.Thread(target=_end_after, args=(connections,), daemon=True).start()


def _end_after(connections: list[Connection]) -> None:
    if connections:
        wait_for_connections(connections)
    with WRITING:
        os._exit(1)
