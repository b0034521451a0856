"""What the projector's processes tell one another, under `torch.distributed`.

Every function here is collective: all ranks of the default group call it, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from gradreg.project.sketch import Sketch
from gradreg.project.subspace import Moment


def several() -> bool:
    """Whether there is more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def seen_anywhere(seen: Sequence[bool], device: torch.device) -> list[bool]:
    """Return, entry by entry, whether it is true on any rank."""
    flags = torch.tensor(seen, dtype=torch.int32, device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def join(summary: Moment | Sketch) -> None:
    """Make a summary that of all ranks' vectors together, bit for bit the same on each."""
    if isinstance(summary, Moment):
        dist.all_reduce(_real(summary.total))
        dist.all_reduce(summary.count)
        return
    summary.compress()
    mine = summary.copy()
    summary.clear()
    for rank in range(dist.get_world_size()):  # one at a time: memory stays bounded
        part = mine.copy()
        filled = torch.tensor(part.filled, device=part.buffer.device)
        for tensor in (filled, _real(part.buffer), part.energy, part.count):
            dist.broadcast(tensor, rank)
        part.filled = int(filled)
        summary.merge(part)


def drawn_once(draw: Callable[[], list[Tensor]], empty: Sequence[Tensor]) -> list[Tensor]:
    """Return rank 0's tensors, which may have any number of columns, on all ranks.

    Args:
        draw: computes them; called on rank 0 alone.
        empty: tensors of the same shapes but the last dimension, dtypes and devices.
    """
    first = dist.get_rank() == 0
    drawn = draw() if first else []
    columns = torch.tensor([t.shape[-1] for t in drawn] or [0] * len(empty), device=empty[0].device)
    dist.broadcast(columns, 0)
    shared = []
    for i, (template, count) in enumerate(zip(empty, columns.tolist(), strict=True)):
        shape = (*template.shape[:-1], count)
        tensor = drawn[i].contiguous() if first else template.new_empty(shape)
        if count:
            dist.broadcast(_real(tensor), 0)
        shared.append(tensor)
    return shared


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
