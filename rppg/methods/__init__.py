"""Classical methods: the BVP from the spatial mean of the skin, without training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.methods.chrom import chrom
from rppg.methods.green import green
from rppg.methods.ica import ica
from rppg.methods.lgi import lgi
from rppg.methods.omit import omit
from rppg.methods.pbv import pbv
from rppg.methods.pos import pos
from rppg.methods.traces import skin_trace

__all__ = [
    "METHODS",
    "Method",
    "chrom",
    "green",
    "ica",
    "lgi",
    "omit",
    "pbv",
    "pos",
    "skin_trace",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A classical method.

    Attributes:
        name: its name on the command line.
        function: RGB traces `(..., T, 3)` and frame rate in Hz → BVP `(..., T)`, up at systole.
        paper: authors, journal and year of its publication.
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
        "The green channel, in which blood absorbs most light.",
    ),
    "ica": Method(
        "ica",
        ica,
        "Poh, McDuff, Picard, Optics Express 18(10), 2010",
        "The most periodic of three independent sources.",
    ),
    "chrom": Method(
        "chrom",
        chrom,
        "de Haan, Jeanne, IEEE Trans. Biomed. Eng. 60(10), 2013",
        "The difference of two chrominance signals, weighted so that intensity changes cancel.",
    ),
    "pbv": Method(
        "pbv",
        pbv,
        "de Haan, van Leest, Physiol. Meas. 35(9), 2014",
        "The channel weights that pass the pulse's signature and suppress everything else most.",
    ),
    "pos": Method(
        "pos",
        pos,
        "Wang, den Brinker, Stuijk, de Haan, IEEE Trans. Biomed. Eng. 64(7), 2017",
        "A projection on the plane orthogonal to the skin tone, then alpha tuning.",
    ),
    "lgi": Method(
        "lgi",
        lgi,
        "Pilz, Zaunseder, Krajewski, Blazek, CVPR Workshops, 2018",
        "The green channel, without the direction along which the colour varies most.",
    ),
    "omit": Method(
        "omit",
        omit,
        "Álvarez Casado, Bordallo López, IEEE J. Biomed. Health Inform. 27(11), 2023",
        "The green channel, without the direction of the first frame's colour.",
    ),
}
