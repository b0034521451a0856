"""Running statistics (BatchNorm's and the like) during additional forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def unchanged_statistics(model: nn.Module | None = None) -> Iterator[None]:
    """Restore, on exit, the buffers of every module that tracks running statistics.

    Args:
        model: the model that has such modules; None finds them when they are called, which
            doesn't work for a compiled module.
    """
    saved: dict[Tensor, Tensor] = {}

    def save(module: nn.Module, _: Any = None) -> None:
        if getattr(module, "running_mean", None) is not None:
            for buffer in module.buffers(recurse=False):
                if buffer not in saved:
                    saved[buffer] = buffer.detach().clone()

    handle = None
    if model is None:
        handle = register_module_forward_pre_hook(save)
    else:
        for module in model.modules():
            save(module)
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()
        with torch.no_grad():
            for buffer, before in saved.items():
                buffer.copy_(before)
