"""Weights (and biases, and the ranks' parts of both) seen as matrices that meet features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradreg.project.weight import ProtectedWeight
from gradreg.sharding import gathered, has_whole_rows, is_sharded, local, scattered


def view_as_matrix(tensor: Tensor, groups: int, dim: int | None, transposed: bool) -> Tensor:
    """Return a weight as (groups, rows, d), the last axis meeting the features.

    Args:
        tensor: of the weight's shape.
        groups: how many sets of features it meets.
        dim: the dimension that meets them; None for a layer's weight.
        transposed: whether that is a transposed convolution's.
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
    """Return the tensor's own precision, at least float32, if matrix products have that."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    backends: Any = torch.backends
    products = (backends.cuda if tensor.is_cuda else backends.mkldnn).matmul
    reduced = {products.fp32_precision, backends.fp32_precision} - {"none", "ieee"}
    return torch.promote_types(wide, torch.float64) if reduced else wide


def joined_matrix(site: ProtectedWeight, parts: Sequence[Tensor], like: Sequence[Tensor]) -> Tensor:
    """Return this rank's parts of a weight (and bias) as one matrix (groups, rows, d)."""
    if not _has_whole_rows(site, like[0]):
        parts = [gathered(part, whole) for part, whole in zip(parts, like, strict=True)]
    groups = site.basis.shape[0]
    matrix = view_as_matrix(parts[0], groups, site.dim, site.transposed)
    if site.bias is None:
        return matrix
    return torch.cat([matrix, parts[1].reshape(groups, -1, 1)], dim=-1)


def parted_matrix(site: ProtectedWeight, matrix: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Undo `joined_matrix`."""
    whole = _has_whole_rows(site, like[0])
    shapes = [local(t).shape if whole else t.shape for t in like]
    size = matrix.shape[-1] - (site.bias is not None)
    parts = [view_as_weight(matrix[..., :size], shapes[0], site.dim, site.transposed)]
    if site.bias is not None:
        parts.append(matrix[..., size].reshape(shapes[1]))
    return parts if whole else [scattered(p, t) for p, t in zip(parts, like, strict=True)]


def _has_whole_rows(site: ProtectedWeight, parameter: Tensor) -> bool:
    """Whether this rank can project its part of a parameter on its own."""
    if not is_sharded(parameter):
        return True
    return site.basis.shape[0] == 1 and not site.transposed and has_whole_rows(parameter, site.dim)
