"""Processes that work for a program, and end with it."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor


def pool_of(jobs: int) -> ProcessPoolExecutor:
    """Worker processes that end when this one does, even if it is killed.

    Left to themselves they would wait for work for ever.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads don't survive a fork
    return ProcessPoolExecutor(jobs, context, initializer=_watch, initargs=(os.getpid(),))


def _watch(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
