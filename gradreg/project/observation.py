"""Seeing the inputs of layers while a model runs, without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from gradreg.running_statistics import unchanged_statistics


@contextmanager
def watched_inputs(
    layers: Iterable[nn.Module],
    look: Callable[[nn.Module, Tensor], None],
    *,
    model: nn.Module | None = None,
    devices: Iterable[torch.device] = (),
) -> Iterator[None]:
    """Call `look(layer, input)` before each forward pass of the layers inside the context.

    No gradient is computed inside; running statistics and random states are put back on leaving.
    Attention's fused inference path, which calls no layers, is off meanwhile.

    Args:
        layers: which to watch.
        look: what to do with their inputs.
        model: where running statistics are; None finds them as modules run.
        devices: those whose random state is kept, beside the CPU's.

    Raises:
        TypeError: a layer is called with its input as keyword argument.
    """
    watched = set(layers)

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in watched:
            return
        if not args:
            raise TypeError(
                f"observing expected a {type(module).__name__} to be called with its input as "
                "positional argument, found a keyword argument: write layer(x)"
            )
        look(module, args[0].detach())

    fast_path = torch.backends.mha.get_fastpath_enabled()
    # A hook on no module in particular: a copy made meanwhile carries none away.
    handle = register_module_forward_pre_hook(hook)
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with (
            torch.no_grad(),
            torch.random.fork_rng([str(d) for d in devices if d.type == "cuda"]),
            unchanged_statistics(model),
        ):
            yield
    finally:
        handle.remove()
        torch.backends.mha.set_fastpath_enabled(fast_path)


def stretched(mask: Tensor | None, features: Tensor) -> Tensor | None:
    """Stretch a mask over the batch to the first dimension of the features.

    Raises:
        ValueError: it isn't one-dimensional, or doesn't divide that dimension.
    """
    if mask is None:
        return None
    entries, rows = mask.numel(), features.shape[0]
    if mask.ndim != 1 or entries == 0 or rows % entries:
        raise ValueError(
            f"expected a mask (batch,) over the first dimension of the layers' inputs, which is "
            f"{rows} at one of them; found {tuple(mask.shape)}: leave that layer out, or give one "
            "entry a sample"
        )
    return mask.repeat_interleave(rows // entries)
