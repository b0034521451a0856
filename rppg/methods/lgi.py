"""LGI: the BVP by local group invariance."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import finite_clips, green_without, read_traces

Array = NDArray[np.float64]


def lgi(rgb: ArrayLike, fps: float) -> Array:
    """Estimate the BVP `(..., T)` by LGI, up at systole.

    The strongest component is treated as nuisance and projected out::

        X = U Σ Vᵀ,   s = U₁,   Y = (I − s sᵀ) X              X: (3, T), with its mean

    Since X keeps its mean, s is close to the colour of the skin, the direction of all intensity
    changes. The paper's pulse is the green row of Y, which falls at systole; the result is
    −(Y_G − mean(Y_G)) / mean(G).

    Args:
        rgb: `(..., T, 3)` spatial means of the skin. Their common scale does not matter; the
            balance between the channels does.
        fps: frame rate in Hz; not used.

    Reference:
        Pilz, Zaunseder, Krajewski, Blazek, "Local group invariance for heart rate estimation from
        face videos in the wild", CVPR Workshops, 2018.
    """
    trace = read_traces(rgb, fps)
    filled, finite = finite_clips(trace)
    _, vectors = np.linalg.eigh(np.swapaxes(filled, -1, -2) @ filled)  # X Xᵀ = U Σ² Uᵀ
    return np.where(finite, green_without(filled, vectors[..., -1]), np.nan)
