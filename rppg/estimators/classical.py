"""Estimators of the classical methods."""

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.methods import METHODS, skin_trace


def classical(name: str, *, skin: bool = False) -> Estimator:
    """Return the estimator of a classical method: the mean of the face ellipse, then the method.

    Args:
        name: a key of `rppg.methods.METHODS`.
        skin: average only the pixels of the ellipse that are skin.

    Raises:
        InputError: no such method.
    """
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    method = METHODS[name].function

    def estimate(frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        return method(skin_trace(frames, skin=skin), fps)

    return estimate
