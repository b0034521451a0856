"""Observation of `MultiheadAttention`, whose projections are no layers that are called.

`torch.nn.functional.multi_head_attention_forward` has queries, keys and values as arguments, and
computes the heads' output, which `out_proj` is multiplied with, inside. While an attention layer
runs, that function is called with the identity in place of `out_proj`. So it returns the heads'
output, which is observed and then projected.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

_ARGUMENTS = inspect.signature(F.multi_head_attention_forward)

INPUTS = {
    "in_proj_weight": ("query", "key", "value"),
    "q_proj_weight": ("query",),
    "k_proj_weight": ("key",),
    "v_proj_weight": ("value",),
}
"""What the weights of attention's input projections are multiplied with."""

OnAttention = Callable[[nn.Module, dict[str, Tensor]], None]


class _Interception(TorchFunctionMode):
    """Passes the inputs of an attention layer's projections on, while that layer runs."""

    def __init__(self, module: nn.Module, on_attention: OnAttention) -> None:
        super().__init__()
        self.module, self.on_attention = module, on_attention

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.multi_head_attention_forward:
            return func(*args, **kwargs)
        call = _ARGUMENTS.bind(*args, **kwargs)
        weight = call.arguments["out_proj_weight"]
        bias = call.arguments["out_proj_bias"]
        call.arguments["out_proj_weight"] = torch.eye(
            weight.shape[1], dtype=weight.dtype, device=weight.device
        )
        call.arguments["out_proj_bias"] = None
        heads, averages = func(*call.args, **call.kwargs)
        inputs = {name: call.arguments[name] for name in ("query", "key", "value")}
        self.on_attention(self.module, {**inputs, "heads": heads})
        return F.linear(heads, weight, bias), averages


@contextmanager
def watched_attention(layers: Iterable[nn.Module], on_attention: OnAttention) -> Iterator[None]:
    """Call `on_attention(layer, inputs)` in each forward pass of attention layers in the context.

    Args:
        layers: `MultiheadAttention` modules.
        on_attention: called with a layer and a dictionary of `query`, `key`, `value` and `heads`,
            each (length, batch, features) or (length, features).
    """
    watched, running = set(layers), list[_Interception]()
    if not watched:
        yield
        return

    def begin(module: nn.Module, _: Any) -> None:
        if module in watched:
            running.append(_Interception(module, on_attention))
            running[-1].__enter__()

    def end(module: nn.Module, _: Any, __: Any) -> None:
        if running and running[-1].module is module:
            running.pop().__exit__(None, None, None)

    handles = [
        register_module_forward_pre_hook(begin),
        register_module_forward_hook(end, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while running:  # torch runs no hooks after a KeyboardInterrupt
            running.pop().__exit__(None, None, None)


def joined_inputs(inputs: Sequence[Tensor], constant: bool, merge: bool) -> Tensor:
    """Return inputs of attention as features (batch, positions, groups, d), one group for each.

    Keys and values may have another number of positions than queries. The shorter ones are filled
    up with zeros, and scaled so that their mean second moment stays the same.

    Args:
        inputs: each (length, batch, d) or (length, d).
        constant: add a feature that is always 1.
        merge: return one group if all inputs are the same tensor, as in self-attention.
    """
    if merge and all(x is inputs[0] for x in inputs):
        inputs = inputs[:1]
    batched = [x.movedim(1, 0) if x.ndim > 2 else x.unsqueeze(0) for x in inputs]
    if constant:
        batched = [F.pad(x, (0, 1), value=1.0) for x in batched]
    longest = max(x.shape[1] for x in batched)
    filled = [
        x
        if x.shape[1] == longest
        else F.pad(x * (longest / max(x.shape[1], 1)) ** 0.5, (0, 0, 0, longest - x.shape[1]))
        for x in batched
    ]
    return torch.stack(filled, dim=2)
