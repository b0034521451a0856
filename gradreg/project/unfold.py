"""A layer's input, unfolded to the feature vectors that its weight is multiplied with.

    Linear          W (out, d)                 features: the rows of the input
    Conv            W (out, in/groups, k...)   features: the patches under the kernel
    ConvTranspose   W (in, out/groups, k...)   features: the input's channel vectors
    Conv1D          W (d, out)                 features: the rows of the input

Conv1D is that of the package transformers, which GPT-2 consists of. Each group has its own
features. W becomes a matrix (groups, rows, d), x a vector (groups, d), and W x is the layer's
response: its output at one position or, for a transposed convolution, what one input position adds
to each output channel under each element of the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
"""Layers whose input can be unfolded."""

PLAIN_METHODS = ("forward", "_conv_forward")
"""The methods that make a layer what its class says; a subclass may have its own."""

CHUNK = 2**22
"""Number of entries in a chunk of features, to limit the memory for large inputs."""


def is_transformers_conv1d(module: nn.Module) -> bool:
    """Return whether a module is transformers' `Conv1D`, a linear layer with weight (in, out)."""
    # Not the type's own name: `fully_shard` makes a subclass of each module's type.
    kind = next((c for c in type(module).__mro__ if c.__name__ == "Conv1D"), None)
    weight = getattr(module, "weight", None)
    return (
        kind is not None
        and type(module).forward is getattr(kind, "forward", None)
        and not isinstance(module, LAYERS)
        and isinstance(weight, Tensor)
        and weight.ndim == 2
        and weight.shape[1] == getattr(module, "nf", None)
    )


def is_plain(module: nn.Module, kinds: tuple[type[nn.Module], ...] = LAYERS) -> bool:
    """Return whether an instance of a kind computes what that kind does, not something else."""
    kind = next(kind for kind in kinds if isinstance(module, kind))
    return all(
        getattr(type(module), name, None) is getattr(kind, name, None) for name in PLAIN_METHODS
    )


def feature_shape(module: nn.Module) -> tuple[int, int]:
    """Return a layer's (groups, d).

    It is computed from the layer's settings, since a sharded weight has another shape.

    Raises:
        TypeError: a layer of a type that can't be unfolded.
    """
    if isinstance(module, nn.Linear):
        return 1, module.in_features
    if is_transformers_conv1d(module):
        return 1, cast(Tensor, module.weight).shape[0]
    if isinstance(module, CONVOLUTIONS):
        elements = math.prod(module.kernel_size)
        return module.groups, module.in_channels // module.groups * elements
    if isinstance(module, TRANSPOSED):
        return module.groups, module.in_channels // module.groups
    supported = ", ".join(layer.__name__ for layer in LAYERS)
    raise TypeError(f"can unfold the input of {supported}; found {type(module).__name__}")


def feature_chunks(module: nn.Module, x: Tensor, limit: int = CHUNK) -> Iterator[Tensor]:
    """Unfold a layer's input to feature vectors, chunk by chunk.

    Args:
        module: one of `LAYERS`, or transformers' Conv1D.
        x: its input; a convolution's may come without batch dimension, as torch allows.
        limit: approximate number of entries in a chunk.

    Yields:
        Features (batch, positions, groups, d), contiguous. All chunks together hold each position
        once. An empty input gives none.

    Raises:
        TypeError: a layer of another type.
    """
    groups, d = feature_shape(module)
    if x.numel() == 0:
        return
    if isinstance(module, CONVOLUTIONS):
        patches = conv_patches(module, x)
    elif isinstance(module, TRANSPOSED):
        batched = x if x.ndim == len(module.kernel_size) + 2 else x.unsqueeze(0)
        patches = batched.movedim(1, -1)
    else:
        patches = x.reshape(x.shape[0] if x.ndim > 1 else 1, -1, 1, x.shape[-1])
    batch, first = patches.shape[:2]
    step = max(1, limit * first // max(patches.numel(), 1))
    for chunk in torch.split(patches, step, dim=1):
        yield chunk.reshape(batch, -1, groups, d)


def conv_patches(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """Return the patches under the kernel, (batch, positions..., in, kernel...), as a view.

    Only padding makes a copy.
    """
    n = len(module.kernel_size)
    if x.ndim == n + 1:
        x = x.unsqueeze(0)
    x = F.pad(
        x,
        _padding(module),
        mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
    )
    for i in range(n):
        extent = module.dilation[i] * (module.kernel_size[i] - 1) + 1
        x = x.unfold(2 + i, extent, module.stride[i])[..., :: module.dilation[i]]
    # (batch, in, positions..., kernel...) -> (batch, positions..., in, kernel...)
    return x.movedim(1, 1 + n)


def _padding(module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int]:
    """Return (before, after) for each dimension, last dimension first, as `F.pad` expects."""
    pads: list[int] = []
    for i in reversed(range(len(module.kernel_size))):
        if module.padding == "same":
            total = module.dilation[i] * (module.kernel_size[i] - 1)
            pads += [total // 2, total - total // 2]
        elif isinstance(module.padding, str):  # "valid"
            pads += [0, 0]
        else:
            pads += [module.padding[i], module.padding[i]]
    return pads
