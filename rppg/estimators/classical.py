"""What can be evaluated: anything that turns frames into a BVP, and the constant guess."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.methods import METHODS, skin_trace

Estimator = Callable[[NDArray[np.float32], float], NDArray[np.float64]]
"""Frames `(T, S, S, C)` float32 in 0–255 on a uniform grid, and its rate in Hz → BVP `(T,)`, up at
systole. NaN where there is no estimate."""


@dataclass(frozen=True)
class ConstantGuess:
    """Always the same heart rate, without looking: what any method has to beat.

    Attributes:
        bpm: the guess, such as the mean of the training domain's heart rates.
    """

    bpm: float


def constant_guess(bpm: float) -> ConstantGuess:
    """The row of a table that guesses `bpm` for every window; it has no waveform.

    Raises:
        InputError: a rate that is not positive.
    """
    if not (np.isfinite(bpm) and bpm > 0):
        raise InputError(f"the constant guess is {bpm} bpm; give a positive heart rate such as 75")
    return ConstantGuess(float(bpm))


def classical(name: str, *, skin: bool = False) -> Estimator:
    """Estimator of a classical method: the mean of the face ellipse, then `METHODS[name]`.

    Args:
        skin: the mean of those pixels of the ellipse that are skin.

    Raises:
        InputError: no such method.
    """
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    method = METHODS[name].function

    def estimate(frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        return method(skin_trace(frames, skin=skin), fps)

    return estimate
