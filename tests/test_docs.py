"""Every Python block in the documents runs; blocks of one document share their names.

A block's title may say what it needs: `title="needs lightning"` is left out, and the test skipped
at its end, where that library is missing; `title="several processes"` runs in a group of one.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch.distributed as dist

ROOT = Path(__file__).parents[1]
NEEDS_FILES = "face.mp4"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'```python(?: title="([^"]*)")?\n(.*?)```', re.DOTALL)


@contextmanager
def process_group(folder: Path) -> Iterator[None]:
    """A group of one process."""
    meeting = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"page_{page.stem}")  # as a file would be, so that its classes pickle
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    missing: set[str] = set()
    for title, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        needed = title.removeprefix("needs ") if title.startswith("needs ") else None
        if NEEDS_FILES in block:
            continue
        if needed is not None and importlib.util.find_spec(needed) is None:
            missing.add(needed)
            continue
        code = compile(block, str(page), "exec")
        if title == "several processes":
            with process_group(tmp_path):
                exec(code, names)
        else:
            exec(code, names)
    if missing:
        pytest.skip(f"all but the blocks that need {', '.join(sorted(missing))} ran")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
