"""The evidence that windows of a wave are a pulse, at their heart rates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PulseEvidence:
    """Evidence from outside of the wave; arrays `(W,)` in 0..1, NaN where there is none.

    It is computed from the video by `rppg.estimators.verified_rates`.

    Attributes:
        agreement: of the face's regions: 1 if all are in phase at the heart rate, towards 0 if
            their phases are random.
        light: how far the light on the background explains the wave at the heart rate.
        motion: how far the head's motion explains it.
    """

    agreement: Array
    light: Array
    motion: Array

    @property
    def gain(self) -> Array:
        """The share `(W,)` of the power at the heart rate that is a pulse's."""
        return np.asarray(self.agreement * (1 - np.maximum(self.light, self.motion)))

    def part(self, index: slice) -> "PulseEvidence":
        """Return the evidence on some of the windows."""
        return PulseEvidence(self.agreement[index], self.light[index], self.motion[index])


def no_evidence(count: int) -> PulseEvidence:
    """Return the evidence on windows of which nothing but the wave is known."""
    return PulseEvidence(*np.full((3, count), np.nan))
