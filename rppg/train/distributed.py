"""Distributed training: each process computes a share of every batch, all see the whole objective.

The network's output for the clips is gathered from all ranks, differentiably, before it is verified
and the loss is computed. Mask, running quantile and the batch's statistics are then those of one
process on the same batch, and so is the gradient, once DDP has averaged it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rppg.devices import find_device
from rppg.errors import RankError

T = TypeVar("T")

TIMEOUT_S = 300.0
"""The run ends when a rank has not answered for this long while others wait for it."""
PREPARING = timedelta(days=7)
"""Timeout while crops are made: with a large dataset some ranks take days longer than others."""


def is_distributed() -> bool:
    """Return whether this process is one of several."""
    return world_size() > 1


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def shares(count: int) -> list[int]:
    """Return how many of `count` clips each rank computes: as equal as possible, none twice."""
    ranks = world_size()
    return [count // ranks + (index < count % ranks) for index in range(ranks)]


def own_share(count: int) -> slice:
    """Return the slice of `count` clips that belongs to this rank."""
    sizes, index = shares(count), rank()
    first = sum(sizes[:index])
    return slice(first, first + sizes[index])


def computed_share(count: int) -> slice:
    """Return the slice of `count` clips that this rank computes: its own.

    Where there are fewer clips than ranks, a rank without any computes the first one, and its
    output is dropped: DDP waits for a gradient from every rank, even if it is zero.
    """
    own = own_share(count)
    return own if own.stop > own.start else slice(0, 1)


def gather(part: Tensor, count: int) -> Tensor:
    """Return all ranks' own rows, in order: `(count, ...)` from what this rank computed.

    The gradient of this rank's rows is multiplied by the number of ranks, since DDP divides by it;
    parameters that are used after the gathering have their whole gradient on every rank.
    """
    return part if world_size() == 1 else _Gather.apply(part, count)


class _Gather(torch.autograd.Function):
    """A differentiable all-gather of rows, of which each rank may have another number."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, count: int) -> Tensor:
        ctx.count, ctx.shape = count, part.shape
        sizes = shares(count)
        padded = part.new_zeros(max(sizes), *part.shape[1:])  # all ranks send the same size
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = gradient.new_zeros(ctx.shape)
        own[: shares(ctx.count)[rank()]] = gradient[own_share(ctx.count)] * world_size()
        return own, None


def largest(number: int) -> int:
    """Return the largest of all ranks' numbers."""
    if world_size() == 1:
        return number
    reduced = torch.tensor(number, device=_message_device())
    dist.all_reduce(reduced, dist.ReduceOp.MAX)
    return int(reduced)


def first_rank_first(work: Callable[[], T]) -> T:
    """Call `work` on rank 0 and then on the others, which find the files that rank 0 has made."""
    if world_size() == 1:
        return work()
    with _long_barrier() as wait:
        if rank() > 0:
            wait()
        result = work()
        if rank() == 0:
            wait()
        wait()
    return result


def each_its_share(work: Callable[[slice], object]) -> None:
    """Call `work` with the slice of every n-th item for each rank, and wait for all ranks."""
    with _long_barrier() as wait:
        work(slice(rank(), None, world_size()))
        wait()


def compute_together(count: int, compute: Callable[[int], float]) -> list[float]:
    """Return `compute(index)` of each index, of which each rank computes a share.

    All ranks get the same bits, so that they decide alike.
    """
    values = torch.zeros(count, dtype=torch.float64)

    def work(part: slice) -> None:
        for index in range(count)[part]:
            values[index] = compute(index)

    if world_size() == 1:
        work(slice(None))
    else:
        each_its_share(work)
        values = values.to(_message_device())
        dist.all_reduce(values)  # the other ranks' values are 0
    return list(values.tolist())


@contextmanager
def _long_barrier() -> Iterator[Callable[[], None]]:
    """Yield a function that waits until all ranks have called it, for days if necessary."""
    group: Any = dist.new_group(timeout=PREPARING, backend="gloo")

    def wait() -> None:
        dist.barrier(group)

    try:
        yield wait
    finally:
        dist.destroy_process_group(group)


def _message_device() -> torch.device:
    """Return the device on which the group's backend expects tensors."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def process_group(device: str = "cpu", timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Join the process group that `torchrun` describes, if there is one, and leave it at the end.

    Ranks that compute on `cuda` communicate by NCCL, each on the GPU of its local rank; others by
    gloo.

    Raises:
        InputError: no such device.
        RankError: another rank has exited, or has not answered for `timeout_s`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    find_device(device)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        yield
    except RuntimeError as error:
        if not _is_communication(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise RankError(
            f"rank {os.environ.get('RANK')}: another rank has exited, or has not answered for "
            f"{timeout_s:g} s ({reason}); read its error message, then run the same command with "
            "--resume"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_communication(error: RuntimeError) -> bool:
    """Return whether an error comes from the communication between processes."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text
