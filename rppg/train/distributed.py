"""Several processes as one: each computes a share of every batch, all see the whole objective.

What the network says of the clips is gathered from all ranks, differentiably, before it is verified
and judged: mask, running quantile and the batch's statistics are those of one process on the same
batch, and so is the gradient, once DDP has averaged it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rppg.errors import RankError

T = TypeVar("T")

TIMEOUT_S = 300.0
"""A rank that is not heard of for so long while others wait for it ends the run."""
PREPARING = timedelta(days=7)
"""Making the crops of a large dataset may take some ranks days longer than others."""


def several() -> bool:
    """Whether this process is one of several."""
    return world() > 1


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def shares(count: int) -> list[int]:
    """How many of `count` clips each rank computes: as equal as can be, none twice."""
    ranks = world()
    return [count // ranks + (place < count % ranks) for place in range(ranks)]


def own_share(count: int) -> slice:
    """Which of `count` clips are this rank's."""
    sizes, place = shares(count), rank()
    first = sum(sizes[:place])
    return slice(first, first + sizes[place])


def computed_share(count: int) -> slice:
    """Which of `count` clips this rank computes: its own.

    Where there are fewer clips than ranks it has none, and computes the first one, for nothing: DDP
    waits for a gradient of every rank, be it zero.
    """
    own = own_share(count)
    return own if own.stop > own.start else slice(0, 1)


def gather(part: Tensor, count: int) -> Tensor:
    """All ranks' own rows, in order: `(count, ...)` from what this rank computed.

    The gradient of this rank's rows is multiplied by the number of ranks, for DDP to divide it
    again; parameters that are used after the gathering have their whole gradient on every rank.
    """
    return part if world() == 1 else _Gathered.apply(part, count)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, count: int) -> Tensor:
        ctx.count, ctx.shape = count, part.shape
        sizes = shares(count)
        padded = part.new_zeros(max(sizes), *part.shape[1:])  # all ranks send as much
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = gradient.new_zeros(ctx.shape)
        own[: shares(ctx.count)[rank()]] = gradient[own_share(ctx.count)] * world()
        return own, None


def largest(number: int) -> int:
    """The largest of all ranks' numbers."""
    if world() == 1:
        return number
    found = torch.tensor(number, device=_device())
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def first_rank_first(work: Callable[[], T]) -> T:
    """Let rank 0 work alone, then the others, who find what it has made."""
    if world() == 1:
        return work()
    with _patient_barrier() as wait:
        if rank() > 0:
            wait()
        result = work()
        if rank() == 0:
            wait()
        wait()
    return result


def each_its_share(work: Callable[[slice], object]) -> None:
    """Let each rank work on every n-th thing, and wait for all."""
    with _patient_barrier() as wait:
        work(slice(rank(), None, world()))
        wait()


@contextmanager
def _patient_barrier() -> Iterator[Callable[[], None]]:
    """What waits until all ranks have called it, for days if need be."""
    group: Any = dist.new_group(timeout=PREPARING, backend="gloo")

    def wait() -> None:
        dist.barrier(group)

    try:
        yield wait
    finally:
        dist.destroy_process_group(group)


def _device() -> torch.device:
    """Where the group's messages have to lie."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def joined(device: str = "cpu", timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Join the group that `torchrun` describes, if it does; leave it at the end.

    Ranks that compute on `cuda` speak by NCCL, each with the GPU of its local number; others by
    gloo.

    Raises:
        RankError: another rank is gone, or was not heard of for `timeout_s`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
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
            f"rank {os.environ.get('RANK')}: another rank is gone, or was silent for "
            f"{timeout_s:g} s ({reason}); look for what it said, then run the same command with "
            "--resume"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_communication(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text
