"""Tensors that are sharded over processes (`DTensor`, as `fully_shard` makes them).

`torch.distributed.tensor` is slow to import, and missing in some builds. So it is imported only
where there is such a tensor.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is a `DTensor`."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Any) -> Tensor:
    """Return this process' part, which shares its memory; a plain tensor itself."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return part


def has_whole_rows(tensor: Any, feature_dim: int | None) -> bool:
    """Return whether each part holds all entries that are multiplied with one feature vector.

    Args:
        tensor: a weight.
        feature_dim: the dimension that is multiplied with features; None for all but the first.
    """
    if not is_sharded(tensor):
        return True
    shards = [p.dim for p in tensor.placements if p.is_shard()]
    return all(dim == 0 if feature_dim is None else dim != feature_dim for dim in shards)


def gathered(part: Tensor, like: Any) -> Tensor:
    """Return the whole tensor from this process' part of it; collective.

    Args:
        part: this process' part.
        like: a tensor of the same sharding.
    """
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    sharded = DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )
    return sharded.full_tensor()


def scattered(whole: Tensor, like: Any) -> Tensor:
    """Return this process' part of a tensor that every process holds; no communication."""
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    return distribute_tensor(
        whole, like.device_mesh, like.placements, src_data_rank=None
    ).to_local()
