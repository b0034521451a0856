"""The wrappers of gradreg with settings in which they change nothing."""

from collections.abc import Callable

from torch.optim import Optimizer

import gradreg


def _all_three(optimizer: Optimizer) -> Optimizer:
    projected = gradreg.NullSpaceProjector(optimizer, None)
    return gradreg.PostVerificationMask(gradreg.PerturbationSmoother(projected, rho=0.0))


NEUTRAL: dict[str, Callable[[Optimizer], Optimizer]] = {
    "PostVerificationMask": gradreg.PostVerificationMask,  # without a call of `verify`
    "PerturbationSmoother": lambda optimizer: gradreg.PerturbationSmoother(optimizer, rho=0.0),
    "OnePassSmoother": lambda optimizer: gradreg.OnePassSmoother(optimizer, rho=0.0),
    "NullSpaceProjector": lambda optimizer: gradreg.NullSpaceProjector(optimizer, None),
    "all three": _all_three,
}
"""From a wrapper's name to a function that wraps an optimizer; the projector observes no noise."""
