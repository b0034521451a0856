"""What a layer's weight multiplies: its input, unfolded to feature vectors.

    Linear    W (out, d)                 features: the rows of the input
    Conv      W (out, in/groups, k...)   features: the patches under the kernel, one set a group

Both become matrices W (groups, out/groups, d) and features (..., groups, d), with the layer's
response W x and its order of entries the same as in the weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose input can be unfolded."""

CHUNK = 2**22
"""Entries of a chunk of features, so that unfolding a large input needs little memory."""


def groups_of(module: nn.Module) -> int:
    """Return into how many groups the layer splits its input channels."""
    return module.groups if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) else 1


def feature_chunks(module: nn.Module, x: Tensor, limit: int = CHUNK) -> Iterator[Tensor]:
    """Unfold a layer's input to feature vectors, chunk by chunk.

    Args:
        module: one of `LAYERS`.
        x: its input; a convolution's may come without batch dimension, as torch allows.
        limit: about how many entries a chunk may have.

    Yields:
        Features (batch, positions, groups, d), contiguous; together all positions, once each.

    Raises:
        TypeError: a layer of another kind.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        patches = conv_patches(module, x)
    elif isinstance(module, nn.Linear):
        patches = x.reshape(x.shape[0] if x.ndim > 1 else 1, -1, 1, x.shape[-1])
    else:
        known = ", ".join(layer.__name__ for layer in LAYERS)
        raise TypeError(f"can unfold the input of {known}; found {type(module).__name__}")
    batch, first = patches.shape[:2]
    groups = groups_of(module)
    step = max(1, limit * first // max(patches.numel(), 1))
    for chunk in torch.split(patches, step, dim=1):
        yield chunk.reshape(batch, -1, groups, module.weight[0].numel())


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

    Args:
        model: where to look.
        parameters: those that are optimized.
        include: name patterns, as in `"encoder.*"`; None means all.
        exclude: name patterns of the layers to leave out.

    Raises:
        ValueError: a pattern without a match, or a parametrized layer.
    """
    known = {name: m for name, m in model.named_modules() if isinstance(m, LAYERS)}
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
        if parametrize.is_parametrized(module, "weight"):
            raise ValueError(
                f"the weight of layer {name!r} is parametrized, so it isn't the parameter that is "
                "optimized: leave the layer out with exclude=, or remove the parametrization"
            )
        if module.weight in held:
            chosen[name] = module
    return chosen
