"""Weights and biases, also sharded ones, as matrices that are multiplied with features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradreg.project.weight import ProtectedWeight
from gradreg.sharding import gathered, has_whole_rows, is_sharded, local, scattered


def view_as_matrix(tensor: Tensor, groups: int, dim: int | None, transposed: bool) -> Tensor:
    """Return a weight as (groups, rows, d), with the features along the last axis.

    Args:
        tensor: a tensor of the weight's shape.
        groups: number of groups, each with its own features.
        dim: the dimension that is multiplied with features; None for a layer's weight.
        transposed: whether the layer is a transposed convolution.
    """
    if dim is not None:
        return tensor.movedim(dim, -1).reshape(1, -1, tensor.shape[dim])
    matrix = tensor.flatten(1).unflatten(0, (groups, tensor.shape[0] // groups))
    return matrix.mT if transposed else matrix


def view_as_weight(
    matrix: Tensor, shape: Sequence[int], dim: int | None, transposed: bool
) -> Tensor:
    """Undo `view_as_matrix`."""
    if dim is not None:
        moved = [size for i, size in enumerate(shape) if i != dim]
        return matrix.reshape(*moved, shape[dim]).movedim(-1, dim)
    return (matrix.mT if transposed else matrix).reshape(shape)


def working_dtype(tensor: Tensor) -> torch.dtype:
    """Return the tensor's precision, at least float32; float64 if products are less precise."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    backends: Any = torch.backends
    products = (backends.cuda if tensor.is_cuda else backends.mkldnn).matmul
    reduced = {products.fp32_precision, backends.fp32_precision} - {"none", "ieee"}
    return torch.promote_types(wide, torch.float64) if reduced else wide


def join_matrix(weight: ProtectedWeight, parts: Sequence[Tensor], like: Sequence[Tensor]) -> Tensor:
    """Return this process' parts of a weight (and bias) as one matrix (groups, rows, d)."""
    if not _has_whole_rows(weight, like[0]):
        parts = [gathered(part, whole) for part, whole in zip(parts, like, strict=True)]
    groups = weight.basis.shape[0]
    matrix = view_as_matrix(parts[0], groups, weight.dim, weight.transposed)
    if weight.bias is None:
        return matrix
    return torch.cat([matrix, parts[1].reshape(groups, -1, 1)], dim=-1)


def split_matrix(weight: ProtectedWeight, matrix: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Undo `join_matrix`."""
    whole = _has_whole_rows(weight, like[0])
    shapes = [local(t).shape if whole else t.shape for t in like]
    size = matrix.shape[-1] - (weight.bias is not None)
    parts = [view_as_weight(matrix[..., :size], shapes[0], weight.dim, weight.transposed)]
    if weight.bias is not None:
        parts.append(matrix[..., size].reshape(shapes[1]))
    return parts if whole else [scattered(p, t) for p, t in zip(parts, like, strict=True)]


def _has_whole_rows(weight: ProtectedWeight, parameter: Tensor) -> bool:
    """Return whether a process can project its part of a parameter without the others."""
    if not is_sharded(parameter):
        return True
    one_matrix = weight.basis.shape[0] == 1 and not weight.transposed
    return one_matrix and has_whole_rows(parameter, weight.dim)
