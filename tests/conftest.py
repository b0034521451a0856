"""Hypothesis profiles, and the real clip, which is outside the repository."""

import os
import signal
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
