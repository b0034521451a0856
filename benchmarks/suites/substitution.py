"""Wrapped optimizers in place of bare ones, in code that knows nothing of gradreg.

`torch.optim.Optimizer.__new__` is replaced, so that `SGD(...)` returns a wrapper around the SGD,
whichever way the class was imported. It must not import torch itself: some tests check what a
process imports.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

WRAPPER = "GRADREG_SUITES_WRAPPER"
"""The environment variable with the name of the wrapper in `NEUTRAL`."""

_MODULE = "torch.optim.optimizer"

_wrapped = 0


def wrapped_so_far() -> int:
    """Return the number of optimizers that this process has wrapped."""
    return _wrapped


def wrap_when_torch_is_imported(wrapper: str) -> None:
    """Wrap each optimizer that this process builds, from the import of torch on.

    Args:
        wrapper: a name in `NEUTRAL`.
    """
    if _MODULE in sys.modules:
        wrap_optimizers(wrapper)
    else:
        sys.meta_path.insert(0, _AfterImport(wrapper))


class _AfterImport(MetaPathFinder):
    """Calls `wrap_optimizers` after torch's module of optimizers was imported."""

    def __init__(self, wrapper: str) -> None:
        self.wrapper = wrapper

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's ordinary specification, with one more thing to do."""
        if name != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)
            wrap_optimizers(self.wrapper, module)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


def wrap_optimizers(wrapper: str, module: ModuleType | None = None) -> None:
    """Make each class of optimizers return wrapped ones.

    Left alone are the class `Optimizer` itself, copies and unpickled optimizers, whose `__init__`
    doesn't run, and optimizers built around another optimizer or its class.

    Args:
        wrapper: a name in `NEUTRAL`.
        module: `torch.optim.optimizer`; imported if None.
    """
    if module is None:
        module = importlib.import_module(_MODULE)
    optimizer_class: type = module.Optimizer

    def is_optimizer(value: Any) -> bool:
        kind = value if isinstance(value, type) else type(value)
        return issubclass(kind, optimizer_class)

    def make(cls: type, *args: Any, **kwargs: Any) -> Any:
        global _wrapped  # noqa: PLW0603  # of the process, as the patch is
        made: Any = object.__new__(cls)
        copied = not args and not kwargs
        around_another = any(map(is_optimizer, [*args, *kwargs.values()]))
        if copied or around_another or cls is optimizer_class:
            return made
        from benchmarks.suites.neutral import NEUTRAL  # noqa: PLC0415  # imports torch

        made.__init__(*args, **kwargs)
        _wrapped += 1
        return NEUTRAL[wrapper](made)

    optimizer_class.__new__ = staticmethod(make)  # type: ignore[assignment,method-assign]
