"""LGI: local group invariance."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import finite_clips, green_left_over, read_traces

Array = NDArray[np.float64]


def lgi(rgb: ArrayLike, fps: float) -> Array:
    """BVP `(..., T)` by LGI, up at systole.

    What varies most is taken for nuisance, and removed by projection onto its complement::

        X = U Σ Vᵀ,   s = U₁,   Y = (I − s sᵀ) X              X: (3, T), with its mean

    Since X keeps its mean, s is close to the colour of the skin, along which all changes of
    intensity lie. The paper's pulse is the green row of Y, which falls at systole; returned is
    −(Y_G − mean(Y_G)) / mean(G).

    Args:
        rgb: `(..., T, 3)` spatial means of the skin. Their common scale does not matter; the
            balance between the channels does.
        fps: frame rate in Hz; not used, as the method has no time scale of its own.

    Reference:
        Pilz, Zaunseder, Krajewski, Blazek, "Local group invariance for heart rate estimation from
        face videos in the wild", CVPR Workshops, 2018.
    """
    trace = read_traces(rgb, fps)
    known, finite = finite_clips(trace)
    _, vectors = np.linalg.eigh(np.swapaxes(known, -1, -2) @ known)  # X Xᵀ = U Σ² Uᵀ
    return np.where(finite, green_left_over(known, vectors[..., -1]), np.nan)
