"""GREEN: the BVP from the green channel."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import read_traces, relative_variation

Array = NDArray[np.float64]


def green(rgb: ArrayLike, fps: float) -> Array:
    """Return the BVP `(..., T)` as `1 − G(t) / mean(G)`: blood absorbs green, so systole is dark.

    Args:
        rgb: `(..., T, 3)` spatial means of the skin, linear in intensity, any scale.
        fps: frame rate in Hz; not used.

    Reference:
        Verkruysse, Svaasand, Nelson, "Remote plethysmographic imaging using ambient light",
        Optics Express 16(26), 2008.
    """
    trace = read_traces(rgb, fps)[..., 1:2]
    return np.asarray(-relative_variation(trace)[..., 0])
