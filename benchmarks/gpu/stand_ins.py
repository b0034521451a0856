"""Stand-ins for packages that an interpreter lacks, so that the rest of the project runs there.

The modules of `rppg` import what they need at their top, also where only one function needs it: all
of training imports PyAV, since recordings may be videos. Of packages in `PLACEHOLDERS` importing
works here, and using raises. The two others are needed in earnest, for configurations and one
transposition: for these there is code.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from torch import Tensor

PLACEHOLDERS = ("av", "h5py", "scipy")
REPLACED = ("einops", "pydantic")


class AbsentPackageError(AttributeError):
    """A use of a package that isn't installed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path.partition('.')[0]} is not installed, and {path} is needed")


def install() -> tuple[str, ...]:
    """Make all modules importable; return the names of the packages that aren't installed.

    Calling it again does nothing.
    """
    finders = [finder for finder in sys.meta_path if isinstance(finder, _Finder)]
    if finders:
        return finders[0].absent
    names = (*PLACEHOLDERS, *REPLACED)
    absent = tuple(name for name in names if importlib.util.find_spec(name) is None)
    sys.meta_path.append(_Finder(absent))
    if "pydantic" in absent:
        sys.modules["pydantic"] = importlib.import_module("benchmarks.gpu.pydantic_stand_in")
    if "einops" in absent:
        sys.modules["einops"] = _einops()
    return absent


class _Finder(MetaPathFinder, Loader):
    """A finder of placeholders, the last of all finders."""

    def __init__(self, absent: tuple[str, ...]) -> None:
        self.absent = absent

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = fullname.partition(".")[0]
        if package not in self.absent or package not in PLACEHOLDERS:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Placeholder(ModuleType):
    """A module that isn't installed: whatever is imported from it raises when it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unusable(name, (Exception,), {"path": f"{self.__name__}.{name}"})


class _Unusable(type):
    """A class, so that annotations and `except` accept it, that can't be called or asked."""

    path: str

    def __call__(cls, *_: object, **__: object) -> NoReturn:
        raise AbsentPackageError(cls.path)

    def __getattr__(cls, name: str) -> NoReturn:
        raise AbsentPackageError(f"{cls.path}.{name}")


def _einops() -> ModuleType:
    module = ModuleType("einops")
    module.__dict__["rearrange"] = rearrange
    return module


def rearrange(tensor: Tensor, pattern: str) -> Tensor:
    """Do what einops does for the one pattern that the project has."""
    if pattern != "b t c h w -> b (h w) c t":
        raise AbsentPackageError(f"einops.rearrange of {pattern!r}")
    return tensor.permute(0, 3, 4, 2, 1).flatten(1, 2)
