"""What a layer's weight multiplies: its input, unfolded to feature vectors.

    Linear          W (out, d)                 features: the rows of the input
    Conv            W (out, in/groups, k...)   features: the patches under the kernel
    ConvTranspose   W (in, out/groups, k...)   features: the input's channel vectors

With one set of features a group, W becomes a matrix (groups, rows, d), x a vector (groups, d), and
W x is the layer's response: its output at one place, or, transposed, what one input place adds to
each output channel under each tap of the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
"""Layers whose input can be unfolded."""

CHUNK = 2**22
"""Entries of a chunk of features, so that unfolding a large input needs little memory."""


def feature_shape(module: nn.Module) -> tuple[int, int]:
    """Return a layer's (groups, d), from its settings: a sharded weight has another shape.

    Raises:
        TypeError: a layer of a kind that can't be unfolded.
    """
    if isinstance(module, nn.Linear):
        return 1, module.in_features
    if isinstance(module, CONVOLUTIONS):
        taps = math.prod(module.kernel_size)
        return module.groups, module.in_channels // module.groups * taps
    if isinstance(module, TRANSPOSED):
        return module.groups, module.in_channels // module.groups
    known = ", ".join(layer.__name__ for layer in LAYERS)
    raise TypeError(f"can unfold the input of {known}; found {type(module).__name__}")


def feature_chunks(module: nn.Module, x: Tensor, limit: int = CHUNK) -> Iterator[Tensor]:
    """Unfold a layer's input to feature vectors, chunk by chunk.

    Args:
        module: one of `LAYERS`.
        x: its input; a convolution's may come without batch dimension, as torch allows.
        limit: about how many entries a chunk may have.

    Yields:
        Features (batch, positions, groups, d), contiguous; together all positions, once each;
        none if the input is empty.

    Raises:
        TypeError: a layer of another kind.
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

    The one copy made is that of padding.
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
        span = module.dilation[i] * (module.kernel_size[i] - 1) + 1
        x = x.unfold(2 + i, span, module.stride[i])[..., :: module.dilation[i]]
    # (batch, in, positions..., kernel...) -> (batch, positions..., in, kernel...)
    return x.movedim(1, 1 + n)


def _padding(module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int]:
    """Return (before, after) of each dimension, last dimension first, as `F.pad` takes it."""
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


def choose_layers(
    model: nn.Module,
    parameters: Sequence[Tensor],
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> dict[str, nn.Module]:
    """Return the model's layers, by name, whose weight is among the parameters.

    `MultiheadAttention` uses its `out_proj` without calling it, so that one isn't a layer here.

    Args:
        model: where to look.
        parameters: those that are optimized.
        include: name patterns, as in `"encoder.*"`; None means all.
        exclude: name patterns of the layers to leave out.

    Raises:
        ValueError: a pattern without a match, or a parametrized layer.
    """
    known = {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, LAYERS) and not isinstance(m, NonDynamicallyQuantizableLinear)
    }
    for pattern in [*(include or ()), *exclude]:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ValueError(
                f"no layer's name matches {pattern!r}: the model has {', '.join(known) or 'none'}"
            )
    held = set(parameters)
    chosen: dict[str, nn.Module] = {}
    for name, module in known.items():
        if include is not None and not any(fnmatchcase(name, p) for p in include):
            continue
        if any(fnmatchcase(name, p) for p in exclude):
            continue
        if parametrize.is_parametrized(module, "weight") or parametrize.is_parametrized(
            module, "bias"
        ):
            raise ValueError(
                f"the weight of layer {name!r} is parametrized, so it isn't the parameter that is "
                "optimized: leave the layer out with exclude=, or remove the parametrization"
            )
        if module.weight in held:
            chosen[name] = module
    return chosen
