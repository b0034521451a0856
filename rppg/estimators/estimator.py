"""The interface of estimators, and a constant heart rate as the baseline for all of them."""

import typing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError


class Estimator(typing.Protocol):
    """A function from face crops to a BVP: a classical method, or a network."""

    def __call__(self, frames: NDArray[np.float32], fps: float, /) -> NDArray[np.float64]:
        """Estimate the BVP.

        Args:
            frames: crops `(T, S, S, C)` on a uniform grid, 0–255.
            fps: rate of the grid in Hz.

        Returns:
            `(T,)`, up at systole; NaN where there is no estimate.
        """


@dataclass(frozen=True)
class ConstantGuess:
    """The same heart rate for every recording: a baseline that any method must improve on.

    Attributes:
        bpm: the heart rate, such as the mean of the training domain's.
    """

    bpm: float


def constant_guess(bpm: float) -> ConstantGuess:
    """Return the baseline that predicts `bpm` for every window; it has no waveform.

    Raises:
        InputError: a rate that is not positive.
    """
    if not (np.isfinite(bpm) and bpm > 0):
        raise InputError(f"the constant guess is {bpm} bpm; give a positive heart rate such as 75")
    return ConstantGuess(float(bpm))
