"""Old names of moved modules, which import for one more version with a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _AliasLoader(Loader):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def exec_module(self, module: ModuleType) -> None:
        """Copy the names of the new module into the old one."""
        warnings.warn(
            f"{self.old} has moved to {self.new}; the old name is removed in the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        own = {"__name__", "__loader__", "__spec__", "__package__", "__path__"}
        names = vars(import_module(self.new))
        vars(module).update({name: value for name, value in names.items() if name not in own})


def alias(old: str, new: str) -> ModuleSpec:
    """Return the spec of a module with the old name and the contents of the new one."""
    # A package without a folder, so that modules in it are found by their old names only.
    return ModuleSpec(old, _AliasLoader(old, new), is_package=True)


def load(name: str) -> object:
    """Return the object of a full name, `package.module.name`.

    Old names alone are looked up so: an import in a string is hidden from readers and linters.
    """
    module, _, attribute = name.rpartition(".")
    found: object = getattr(import_module(module), attribute)
    return found


class OldNames(MetaPathFinder):
    """A finder of this package's modules by their old names, for `sys.meta_path`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that moved; None for any other."""
        return alias(name, MOVED[name]) if name in MOVED else None


MOVED = {
    "gradreg.accumulation": "gradreg.smooth.closure",
    "gradreg.change": "gradreg.project.update",
    "gradreg.features": "gradreg.project.unfold",
    "gradreg.gradient_mask": "gradreg.mask.gradients",
    "gradreg.mask_counts": "gradreg.mask.counts",
    "gradreg.masking": "gradreg.mask.level",
    "gradreg.matrices": "gradreg.project.weight_as_matrix",
    "gradreg.observation": "gradreg.project.observation",
    "gradreg.one_pass": "gradreg.smooth.one_pass",
    "gradreg.perturbations": "gradreg.smooth.perturbations",
    "gradreg.projection": "gradreg.project.level",
    "gradreg.protected": "gradreg.project.weight",
    "gradreg.ranks": "gradreg.distributed",
    "gradreg.sketch": "gradreg.project.sketch",
    "gradreg.smoothing": "gradreg.smooth.two_pass",
    "gradreg.running_statistics": "gradreg.buffers",
    "gradreg.statistics": "gradreg.buffers",
    "gradreg.subspace": "gradreg.project.subspace",
    **{
        f"gradreg.perturbations.{name}": f"gradreg.smooth.perturbations.{name}"
        for name in ("asam", "friendly", "noise", "norms", "protocol", "sam")
    },
}
