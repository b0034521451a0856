"""Tensors that are spread over ranks (`DTensor`, as `fully_shard` makes them), seen locally.

`torch.distributed.tensor` is slow to import, and absent from some builds: only those who hold such
a tensor import it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a `DTensor`."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Any) -> Tensor:
    """Return this rank's part, which shares its memory; a plain tensor is its own."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return part


def has_whole_rows(tensor: Any, feature_dim: int | None) -> bool:
    """Whether each rank's part keeps the entries together that meet one feature vector.

    Args:
        tensor: a weight.
        feature_dim: the dimension that meets the features; None for all but the first.
    """
    if not is_sharded(tensor):
        return True
    shards = [p.dim for p in tensor.placements if p.is_shard()]
    return all(dim == 0 if feature_dim is None else dim != feature_dim for dim in shards)


def gathered(part: Tensor, like: Any) -> Tensor:
    """Return the whole tensor of which each rank holds a part, spread like another one."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    spread = DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )
    return spread.full_tensor()


def scattered(whole: Tensor, like: Any) -> Tensor:
    """Return this rank's part of a tensor that all ranks hold whole; no communication."""
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    return distribute_tensor(
        whole, like.device_mesh, like.placements, src_data_rank=None
    ).to_local()
