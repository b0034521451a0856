"""Buffers (BatchNorm's running statistics and the like) during additional forward passes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy


@contextmanager
def unchanged_buffers(model: nn.Module | None = None) -> Iterator[None]:
    """Restore, on exit, all buffers of the modules that run inside the context.

    Running statistics, the vectors of spectral norm, a queue and its position: whatever a forward
    pass writes to. Buffers that a lazy module has yet to create are left out.

    Args:
        model: the model, whose buffers may also be replaced by others inside. None finds modules
            when they are called, which doesn't work in a compiled one. Other networks that run
            inside are found so, too, unless something is compiled in this process, since hooks
            would have that compiled again: then give all networks, in an `nn.ModuleList`.
    """
    saved = _SavedBuffers()
    if model is not None:
        saved.add_with_names(model)
    with ExitStack() as stack:
        stack.callback(saved.restore)
        if model is None or not _compiles():
            stack.callback(register_module_forward_pre_hook(saved.add).remove)
        yield


def _compiles() -> bool:
    """Return whether there is code in this process that `torch.compile` has compiled."""
    dynamo: Any = sys.modules.get("torch._dynamo.convert_frame")
    return dynamo is not None and any(code() for code in dynamo.output_codes.seen)


class _SavedBuffers:
    """The buffers of modules, and copies of their values."""

    def __init__(self) -> None:
        self._modules: set[nn.Module] = set()
        self._values: dict[Tensor, Tensor] = {}
        self._names: dict[nn.Module, dict[str, Tensor | None]] = {}

    def add(self, module: nn.Module, _: Any = None) -> None:
        """Save the buffers of a module and of those inside it; also a forward pre-hook."""
        if torch.compiler.is_compiling() or module in self._modules:
            return
        for part in module.modules():
            self._modules.add(part)
            for buffer in part._buffers.values():
                if buffer is not None and buffer not in self._values and _has_value(buffer):
                    self._values[buffer] = buffer.detach().clone()

    def add_with_names(self, model: nn.Module) -> None:
        """Save the buffers of a model, and which they are.

        Not for a module that is running: in `functional_call` it holds buffers for the moment.
        """
        self.add(model)
        self._names.update({part: dict(part._buffers) for part in model.modules()})

    @torch.no_grad()
    def restore(self) -> None:
        """Put the same buffers back, with the values they had."""
        for module, buffers in self._names.items():
            for name in [name for name in module._buffers if name not in buffers]:
                del module._buffers[name]
            module._buffers.update(buffers)
        for buffer, value in self._values.items():
            if buffer.shape != value.shape:  # an observer of quantisation resizes its histogram
                buffer.set_(value)  # type: ignore[call-overload]
            else:
                # Through `data`: a write that changes nothing must not invalidate a kept graph.
                buffer.data.copy_(value)


def _has_value(buffer: Tensor) -> bool:
    """Return whether a buffer can be copied: it exists, and is no view of `vmap`'s."""
    return not is_lazy(buffer) and not torch._C._functorch.is_functorch_wrapped_tensor(buffer)
