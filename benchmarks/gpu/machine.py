"""The machine and the interpreter, for the result."""

import platform
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

import gradreg
from benchmarks.gpu.stand_ins import install
from rppg.processes import usable_cpus

ROOT = Path(__file__).parents[2]


def describe(device: str) -> dict[str, Any]:
    """Return device, versions, and what this interpreter lacks."""
    pinned = pinned_torch()
    found: dict[str, Any] = {
        "device": "cpu",
        "machine": platform.machine(),
        "cpus": usable_cpus(),
        "python": platform.python_version(),
        "gradreg": gradreg.__version__,
        "torch": torch.__version__,
        "torch_required": pinned,
        "torch_is_older": is_older(torch.__version__, pinned),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "not_installed": list(install()),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return found


def pinned_torch() -> str:
    """Return the versions of torch that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirement: str = project["dependencies"][0]
    return requirement.removeprefix("torch")


def is_older(version: str, required: str) -> bool:
    """Return whether a version is below the one after `>=`."""
    least = re.search(r">=([\d.]+)", required)
    return least is not None and _numbers(version) < _numbers(least[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def file_name(device: str) -> str:
    """Return the name of a device's file: `nvidia-h200.json`."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json"
