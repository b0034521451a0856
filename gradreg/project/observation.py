"""Observation of the inputs of layers during a forward pass that leaves no other trace."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from gradreg.buffers import unchanged_buffers
from gradreg.distributed import any_process, has_several_processes
from gradreg.project.attention import watched_attention
from gradreg.project.covered_weight import CoveredWeight
from gradreg.project.layers import CoveredLayers, has_rows
from gradreg.project.selection import Summary
from gradreg.project.tokens import TokenCounts
from gradreg.project.weight import Kind


@contextmanager
def observed_features(
    kind: Kind,
    layers: CoveredLayers,
    new_summary: Callable[[CoveredWeight], Summary],
    mask: Tensor | None,
    *,
    batch_dim: int | None = None,
    skipped: Container[Tensor] = (),
    model: nn.Module | None,
    parameters: Sequence[Tensor],
) -> Iterator[dict[Tensor, Summary]]:
    """Yield a dictionary that holds, after the context, a summary of features for each weight.

    The summaries are those of all processes together.

    Args:
        kind: what is observed, for messages.
        layers: the layers to observe.
        new_summary: returns an empty summary for a weight's features.
        mask: which batch entries count, (batch,), boolean or weights; None for all.
        batch_dim: the batch's dimension in inputs of linear layers and embeddings; None for the
            first, with a check.
        skipped: weights that aren't observed.
        model: the model with the running statistics; None finds them when modules are called.
        parameters: the optimizer's.

    Raises:
        RuntimeError: there are no layers; on exit, if none ran.
    """
    if not layers.by_name:
        raise RuntimeError(
            f"observe_{kind}() has no layer to watch: none of the {len(parameters)} "
            "parameters of the optimizer is the weight of a layer that the projector covers. "
            "Where only affine parameters of normalisation layers are trained, the layers' "
            "responses to noise don't change: leave the projector out (project=None). Give it "
            "the model, if it has none; cover other parameters by protect()"
        )
    seen: dict[Tensor, Summary] = {}

    def add(covered: CoveredWeight, chunks: Iterator[Tensor]) -> None:
        layers.check_observable(covered)
        if covered.weight in skipped:
            return
        if covered.weight not in seen:
            seen[covered.weight] = new_summary(covered)
        summary = seen[covered.weight]
        for chunk in chunks:
            features = chunk
            if not isinstance(summary, TokenCounts):
                groups = max(chunk.shape[2], summary.shape[0])  # attention may have got more
                summary.split_groups(groups)
                features = chunk.expand(-1, -1, groups, -1)
            summary.add(features, stretched(mask, features))

    def on_input(module: nn.Module, x: Tensor) -> None:
        for covered in layers.by_module[module]:
            if mask is not None and batch_dim is None:
                check_batch_first(module, x, mask)
            add(covered, layers.features(covered, x, batch_dim))

    def on_attention(module: nn.Module, inputs: dict[str, Tensor]) -> None:
        for covered in layers.by_module[module]:
            add(covered, layers.attention_features(covered, inputs))

    attention = [m for m, (first, *_) in layers.by_module.items() if first.inputs]
    called = [m for m in layers.by_module if m not in set(attention)]
    devices = {p.device for p in parameters}
    with (
        watched_inputs(called, on_input, model=model, devices=devices),
        watched_attention(attention, on_attention),
    ):
        yield seen
    if has_several_processes():
        _sum_over_processes(seen, layers, new_summary, parameters[0].device)
    if not seen:
        raise RuntimeError(
            f"observe_{kind}() expected a forward pass through the layers it watches "
            f"({', '.join(layers.by_name)}), found none: call the eager model (not a compiled or "
            "copied one) inside the context; print(opt.coverage()) shows what can be watched"
        )


def _sum_over_processes(
    seen: dict[Tensor, Summary],
    layers: CoveredLayers,
    new_summary: Callable[[CoveredWeight], Summary],
    device: torch.device,
) -> None:
    """Sum the summaries over all processes, in an order that they share."""
    weights = layers.by_weight
    seen_anywhere = any_process([weight in seen for weight in weights], device)
    own = dict(seen)
    seen.clear()
    for (weight, covered), anywhere in zip(weights.items(), seen_anywhere, strict=True):
        if anywhere:
            seen[weight] = own.get(weight) or new_summary(covered)
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
            unchanged_buffers(model),
        ):
            yield
    finally:
        handle.remove()
        torch.backends.mha.set_fastpath_enabled(fast_path)


def check_batch_first(module: nn.Module, x: Tensor, mask: Tensor) -> None:
    """Raise a ValueError if a linear layer's or embedding's input looks sequence first.

    Then each entry of the mask would be taken for a stretch of times, not for a sample.
    """
    dimensions = x.ndim + isinstance(module, nn.Embedding)
    if dimensions != 3 or not (has_rows(module) or isinstance(module, nn.Embedding)):
        return
    first, second = x.shape[:2]
    if first != mask.numel() == second:
        raise ValueError(
            f"expected the batch in the first dimension of the layers' inputs, found an input "
            f"{tuple(x.shape)} of a {type(module).__name__} that has the mask's {mask.numel()} "
            "entries in its second one: if inputs are sequence first, (time, batch, features), say "
            "batch_dim=1 to observe_noise() or observe_signal(), else batch_dim=0"
        )


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
