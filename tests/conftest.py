"""Hypothesis profiles, cases that are run by default, and the real clip, which is elsewhere."""

import os
import signal
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Programs started here are interrupted by some tests. Where the shell runs the tests in the
background, they would inherit that interrupts are ignored."""

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=20, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "thorough", deadline=None, max_examples=500, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the cases beyond the number of a test that is marked `default_cases`."""
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("default_cases") and not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for among in cases.values():
        (count,) = among[0].get_closest_marker("default_cases").args
        kept = {k * len(among) // count for k in range(count)}  # evenly spread
        for number, item in enumerate(among):
            if len(among) > count and number not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_face() -> Path:
    """Folder of the real face clip (`video.mp4`, `vitals.csv`)."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "real-face-1"
    if not (folder / "video.mp4").exists():
        pytest.skip(f"the real face clip is not on this machine ({folder})")
    return folder
