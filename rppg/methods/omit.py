"""OMIT: the BVP by orthogonal matrix image transformation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.methods.normalise import finite_clips, green_without, read_traces

Array = NDArray[np.float64]


def omit(rgb: ArrayLike, fps: float) -> Array:
    """Estimate the BVP `(..., T)` by OMIT, up at systole.

    Like LGI, with a QR decomposition instead of the singular value decomposition::

        X = Q R,   s = Q₁,   Y = (I − s sᵀ) X                 X: (3, T), with its mean

    The first column of Q is the first column of X, the colour in the first frame, normalised to
    length 1. The paper's pulse is the green row of Y, which falls at systole; the result is
    −(Y_G − mean(Y_G)) / mean(G).

    Args:
        rgb: `(..., T, 3)` spatial means of the skin. Their common scale does not matter; the
            balance between the channels does.
        fps: frame rate in Hz; not used.

    Reference:
        Álvarez Casado, Bordallo López, "Face2PPG: an unsupervised pipeline for blood volume pulse
        extraction from faces", IEEE J. Biomed. Health Inform. 27(11), 2023.
    """
    trace = read_traces(rgb, fps)
    filled, finite = finite_clips(trace)
    first = filled[..., :1, :].sum(axis=-2)  # zeros for a clip without frames
    length = np.linalg.norm(first, axis=-1, keepdims=True)
    s = first / np.where(length > 0, length, 1.0)
    return np.where(finite, green_without(filled, s), np.nan)
