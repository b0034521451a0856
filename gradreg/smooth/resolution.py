"""A warning for perturbations too small for 16-bit weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from gradreg.sharding import local

MOVED_SHARE = 0.5
"""The warning is given where a perturbation moves a smaller share of the 16-bit weights."""


class ResolutionCheck:
    """A check, once, of how many of the 16-bit weights a perturbation moves.

    A bfloat16 number has 8 bits: adding less than about 1/500 of it leaves it as it is. A radius
    is shared by all weights, so that the offset of each one shrinks with the size of the model.
    """

    def __init__(self) -> None:
        self._done = False

    def check(
        self,
        level: str,
        params: Sequence[Tensor],
        before: Sequence[Tensor],
        offsets: Sequence[Tensor],
    ) -> None:
        """Warn if few of the weights moved; the first perturbation decides.

        This is a host synchronisation, once, and only with 16-bit weights.

        Args:
            level: the class' name, for the message.
            params: the perturbed weights.
            before: the same before the perturbation.
            offsets: the perturbation.
        """
        if self._done:
            return
        narrow = [
            (local(p.detach()), local(w), local(e))
            for p, w, e in zip(params, before, offsets, strict=True)
            if p.dtype in (torch.bfloat16, torch.float16)
        ]
        asked = sum(int((e != 0).sum()) for _, _, e in narrow)
        if narrow and not asked:
            return  # nothing to add, as in a step with a zero gradient
        self._done = True
        moved = sum(int(((p != w) & (e != 0)).sum()) for p, w, e in narrow)
        if moved < MOVED_SHARE * asked:
            warnings.warn(
                f"{level}'s perturbation moves {moved / asked:.1%} of the {asked} weights of 16 "
                "bits: for the others it is smaller than the resolution of their dtype, so that "
                "there is little smoothing, or none. Keep the weights in float32, with autocast, "
                "or increase rho",
                stacklevel=2,
            )
