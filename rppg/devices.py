"""The device on which a network computes."""

import torch

from rppg.errors import InputError


def find_device(name: str) -> torch.device:
    """Return the device called `cpu`, `cuda`, `cuda:1`, ...

    Raises:
        InputError: an unknown name, or a device that doesn't exist.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name}: no such kind; give cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: not supported; give cpu, cuda or cuda:1")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(
            f"--device {name}: {count} CUDA devices here; leave it out, or install a build of "
            "torch for your GPU"
        )
    return device
