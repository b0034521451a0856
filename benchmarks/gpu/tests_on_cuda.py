"""A pytest plugin that selects the tests that need a CUDA device.

They are marked by `skipif(..., reason=REASON)`. In an interpreter that lacks packages, the tests
are collected with stand-ins for them.
"""

from typing import Any

from benchmarks.gpu.stand_ins import install

REASON = "needs a CUDA device"

install()


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out all other tests."""
    chosen = [item for item in items if _needs_cuda(item)]
    others = [item for item in items if not _needs_cuda(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


def _needs_cuda(item: Any) -> bool:
    return any(mark.kwargs.get("reason") == REASON for mark in item.iter_markers("skipif"))
