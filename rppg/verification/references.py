"""The reference traces of a clip: what is no pulse, but could look like one."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class References:
    """Traces of the light and of the head's motion.

    Attributes:
        light: `(B, M, T)` traces of the background, AC/DC units.
        motion: `(B, N, T)` traces of the head's motion, as shares of the crop's side.
        seen: `(B, M)` in 0..1: how much background each light trace is made of. A trace of hardly
            any patch explains nothing.
    """

    light: Tensor
    motion: Tensor
    seen: Tensor
