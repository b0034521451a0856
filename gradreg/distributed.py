"""Communication between the processes of `torch.distributed`.

Functions that communicate are collective: all processes of the default group call them, in the
same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def is_initialized() -> bool:
    """Return whether there is a process group, also one of a single process."""
    return dist.is_available() and dist.is_initialized()


def has_several_processes() -> bool:
    """Return whether there is more than one process."""
    return is_initialized() and dist.get_world_size() > 1


def any_process(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Return, flag by flag, whether it is true in any process."""
    values = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return [bool(value) for value in values.tolist()]


def from_first_process(
    compute: Callable[[], list[Tensor]], templates: Sequence[Tensor]
) -> list[Tensor]:
    """Return the first process' tensors, which may have any number of columns, in all processes.

    Args:
        compute: returns the tensors; called in the first process only.
        templates: tensors of the same shapes except for the last dimension, the same dtypes and
            devices.
    """
    first = dist.get_rank() == 0
    computed = compute() if first else []
    device = templates[0].device
    columns = torch.tensor([t.shape[-1] for t in computed] or [0] * len(templates), device=device)
    dist.broadcast(columns, 0)
    shared = []
    for i, (template, count) in enumerate(zip(templates, columns.tolist(), strict=True)):
        shape = (*template.shape[:-1], count)
        tensor = computed[i].contiguous() if first else template.new_empty(shape)
        if count:
            dist.broadcast(real_view(tensor), 0)
        shared.append(tensor)
    return shared


def real_view(tensor: Tensor) -> Tensor:
    """Return a complex tensor's real view, a real tensor itself: collectives take no others."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
