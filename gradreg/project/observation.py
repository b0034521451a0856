"""Observation of the inputs of layers during a forward pass that leaves no other trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from gradreg.distributed import any_process, has_several_processes
from gradreg.project.layers import CoveredLayers
from gradreg.project.selection import Summary
from gradreg.running_statistics import unchanged_statistics


@contextmanager
def observed_features(
    layers: CoveredLayers,
    new_summary: Callable[[nn.Module], Summary],
    mask: Tensor | None,
    *,
    model: nn.Module | None,
    parameters: Sequence[Tensor],
) -> Iterator[dict[Tensor, Summary]]:
    """Yield a dictionary that holds, after the context, a summary of features for each weight.

    The summaries are those of all processes together.

    Args:
        layers: the layers to observe.
        new_summary: returns an empty summary for a layer's features.
        mask: which batch entries count, (batch,), boolean or weights; None for all.
        model: the model with the running statistics; None finds them when modules are called.
        parameters: the optimizer's.
    """
    seen: dict[Tensor, Summary] = {}

    def summarise(module: nn.Module, x: Tensor) -> None:
        layers.check_observable(module)
        weight = layers.weights[module]
        if weight not in seen:
            seen[weight] = new_summary(module)
        for features in layers.features(module, x):
            seen[weight].add(features, stretched(mask, features))

    devices = {p.device for p in parameters}
    with watched_inputs(layers.weights, summarise, model=model, devices=devices):
        yield seen
    if has_several_processes():
        _sum_over_processes(seen, layers, new_summary, parameters[0].device)


def _sum_over_processes(
    seen: dict[Tensor, Summary],
    layers: CoveredLayers,
    new_summary: Callable[[nn.Module], Summary],
    device: torch.device,
) -> None:
    """Sum the summaries over all processes, in an order that they share."""
    modules = {weight: module for module, weight in layers.weights.items()}
    seen_anywhere = any_process([weight in seen for weight in modules], device)
    own = dict(seen)
    seen.clear()
    for (weight, module), anywhere in zip(modules.items(), seen_anywhere, strict=True):
        if anywhere:
            seen[weight] = own.get(weight) or new_summary(module)
            seen[weight].sum_over_processes()


@contextmanager
def watched_inputs(
    layers: Iterable[nn.Module],
    on_input: Callable[[nn.Module, Tensor], None],
    *,
    model: nn.Module | None = None,
    devices: Iterable[torch.device] = (),
) -> Iterator[None]:
    """Call `on_input(layer, input)` before each forward pass of the layers inside the context.

    Gradients are disabled inside. Running statistics and random states are restored on exit.
    Attention's fused inference path, which calls no layers, is disabled inside.

    Args:
        layers: the layers to watch.
        on_input: called with a layer and its input.
        model: the model with the running statistics; None finds them when modules are called.
        devices: devices whose random state is restored, besides the CPU.

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
        on_input(module, args[0].detach())

    fast_path = torch.backends.mha.get_fastpath_enabled()
    # A global hook, so that a copy of the model made inside the context has none.
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
    """Repeat the entries of a mask over the batch to match the features' first dimension.

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
            "entry per sample"
        )
    return mask.repeat_interleave(rows // entries)
