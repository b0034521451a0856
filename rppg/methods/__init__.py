"""Classical methods: the BVP from the spatial mean of the skin, without learning."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.methods.chrom import chrom
from rppg.methods.green import green
from rppg.methods.pos import pos
from rppg.methods.traces import skin_trace

__all__ = ["METHODS", "Method", "chrom", "green", "pos", "skin_trace"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """One classical method.

    Attributes:
        name: as typed on the command line.
        function: RGB traces `(..., T, 3)` and frame rate in Hz → BVP `(..., T)`, up at systole.
        paper: where it was published.
        description: one sentence.
    """

    name: str
    function: Callable[[Array, float], Array]
    paper: str
    description: str


METHODS: dict[str, Method] = {
    "green": Method(
        "green",
        green,
        "Verkruysse, Svaasand, Nelson, Optics Express 16(26), 2008",
        "The green channel, in which blood absorbs most.",
    ),
    "chrom": Method(
        "chrom",
        chrom,
        "de Haan, Jeanne, IEEE Trans. Biomed. Eng. 60(10), 2013",
        "The difference of two chrominance signals, weighed so that intensity motion cancels.",
    ),
    "pos": Method(
        "pos",
        pos,
        "Wang, den Brinker, Stuijk, de Haan, IEEE Trans. Biomed. Eng. 64(7), 2017",
        "Projection on the plane orthogonal to the skin tone, refined by alpha tuning.",
    ),
}
