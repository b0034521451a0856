"""The Hann window."""

import numpy as np
from numpy.typing import NDArray


def hann_window(length: int) -> NDArray[np.float64]:
    """Return the periodic Hann window `(length,)`: two that overlap by half sum to one."""
    if length <= 1:
        return np.ones(length)
    return 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, length + 1)[:-1])
