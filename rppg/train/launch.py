"""Ranks of a distributed training, started by this process and ended with it.

They join a process group as under `torchrun`, whose agent would outlive a parent that is killed.
"""

import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import torch
from torch import multiprocessing
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from rppg.errors import InputError, RankError
from rppg.train.distributed import process_group

HOST = "localhost"


def run_ranks(
    work: Callable[..., object],
    arguments: tuple[Any, ...],
    processes: int,
    *,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Call `work(*arguments)` in several processes of one process group; return when all have.

    Args:
        work: a function at the top level of a module, since the processes import it.
        arguments: its arguments, which must be picklable.
        processes: number of ranks.
        device: on which the ranks compute; on `cuda` each has the GPU of its number.
        threads: of torch, in each process.

    Raises:
        InputError: what a rank raised.
        RankError: a rank ended otherwise; the others are ended, too.
    """
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    common = (processes, store.port, device, threads, errors, work, arguments)
    context = start_processes(_rank, common, processes, join=False, start_method="spawn")
    try:
        while not context.join():
            pass
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not errors.empty():
            raise errors.get() from error
        reason = str(error).strip().splitlines()[-1]
        raise RankError(f"rank {error.error_index} of {processes}: {reason}") from error
    finally:
        for process in context.processes:  # still alive only after an interrupt
            process.terminate()
            process.join()


def _rank(
    index: int,
    processes: int,
    port: int,
    device: str,
    threads: int,
    errors: Any,
    work: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    if hasattr(signal, "pthread_sigmask"):  # blocked by some parents; sent when the parent dies
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": HOST,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the parent has the store
    }
    torch.set_num_threads(threads)
    if index > 0:
        logging.getLogger().setLevel(logging.ERROR)
    try:
        with process_group(device):
            work(*arguments)
    except InputError as error:
        errors.put(error)
        raise
