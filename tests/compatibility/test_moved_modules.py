"""Old module names import the moved modules, with a warning."""

import importlib
import subprocess
import sys

import pytest

import gradreg
import gradreg.moved_modules
import rppg.moved_modules

MOVED = {**gradreg.moved_modules.MOVED, **rppg.moved_modules.MOVED}


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_still_imports(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {MOVED[old]}"):
        module = importlib.import_module(old)
    new = importlib.import_module(MOVED[old])
    assert module.__doc__ == new.__doc__
    public = [name for name in vars(new) if not name.startswith("_")]
    assert all(getattr(module, name) is getattr(new, name) for name in public)


def test_the_warning_names_the_line_that_imports() -> None:
    line = "import gradreg, gradreg.masking as old; print(old.Prior is gradreg.Prior)"
    ended = subprocess.run(
        [sys.executable, "-W", "default", "-c", line], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "True\n"
    assert "<string>:1: DeprecationWarning: gradreg.masking has moved" in ended.stderr


def test_other_names_are_still_missing() -> None:
    for name in ("gradreg.nothing", "rppg.nothing", "rppg.data.nothing"):
        with pytest.raises(ModuleNotFoundError, match=name):
            importlib.import_module(name)
