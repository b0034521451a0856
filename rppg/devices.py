"""Where a network computes."""

import torch

from rppg.errors import InputError


def find_device(name: str) -> torch.device:
    """The device called `cpu`, `cuda`, `cuda:1`, ...

    Raises:
        InputError: an unknown name, or no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name}: no such kind; give cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: not supported; give cpu, cuda or cuda:1")
    here = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= here:
        raise InputError(
            f"--device {name}: {here} CUDA devices here; leave it out, or install a build of torch "
            "for your GPU"
        )
    return device
