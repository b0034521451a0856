"""JADE: independent components by joint diagonalisation of fourth-order cumulants."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_SWEEPS = 100
SMALLEST_ANGLE = 1e-8
RANK = 1e-10
"""A principal component with less than this share of the largest variance is rounding error."""


def jade(x: Array) -> tuple[Array, Array]:
    """Separate mixtures `(..., m, T)`, m small, into independent sources and a mixing matrix.

    The mixtures are whitened, z = W x. Sweeps of Jacobi rotations then find the rotation V that
    jointly diagonalises the cumulant matrices of z best::

        Q_ij = E[z_i z_j z zᵀ] − E[z_i z_j] I − e_i e_jᵀ − e_j e_iᵀ        s = Vᵀ z,  x = A s

    The result is deterministic. If there are fewer than m sources, the others are zeros.

    Returns:
        Sources `(..., m, T)` of variance 1 (or 0), and mixing matrices A `(..., m, m)`, so that
        `x − mean(x) = A s`.

    Reference:
        Cardoso, Souloumiac, "Blind beamforming for non-Gaussian signals", IEE Proceedings F
        140(6), 1993; the angles are those of Cardoso, "High-order contrasts for independent
        component analysis", Neural Computation 11(1), 1999.
    """
    centred = x - np.mean(x, axis=-1, keepdims=True)
    samples = x.shape[-1]
    variance, axes = np.linalg.eigh(centred @ np.swapaxes(centred, -1, -2) / samples)
    kept = variance > RANK * np.maximum(variance[..., -1:], np.finfo(np.float64).tiny)
    deviation = np.sqrt(np.where(kept, variance, 0.0))
    z = np.swapaxes(axes, -1, -2) @ centred
    z = z * np.where(kept, 1 / np.where(kept, deviation, 1.0), 0.0)[..., None]
    v = _rotation(_cumulants(z, kept))
    return np.swapaxes(v, -1, -2) @ z, (axes * deviation[..., None, :]) @ v


def _cumulants(z: Array, kept: NDArray[np.bool_]) -> Array:
    """Compute the cumulant matrices `(..., K, m, m)` of white `(..., m, T)`, one for each i ≤ j."""
    m, samples = z.shape[-2:]
    one = np.eye(m) * kept[..., None]
    matrices = []
    for i in range(m):
        for j in range(i + 1):
            fourth = (z * (z[..., i, :] * z[..., j, :])[..., None, :]) @ np.swapaxes(z, -1, -2)
            gaussian = one[..., i, j, None, None] * one
            gaussian = gaussian + one[..., i, :, None] * one[..., j, None, :]
            gaussian = gaussian + one[..., j, :, None] * one[..., i, None, :]
            matrices.append((fourth / samples - gaussian) * (1.0 if i == j else np.sqrt(2)))
    return np.stack(matrices, axis=-3)


def _rotation(matrices: Array) -> Array:
    """Find the rotation `(..., m, m)` that best diagonalises symmetric `(..., K, m, m)` jointly."""
    m = matrices.shape[-1]
    v = np.broadcast_to(np.eye(m), (*matrices.shape[:-3], m, m)).copy()
    left = matrices.copy()
    for _ in range(MAX_SWEEPS):
        rotated = False
        for p in range(m - 1):
            for q in range(p + 1, m):
                diagonal = left[..., p, p] - left[..., q, q]
                off = 2 * left[..., p, q]
                real = np.sum(diagonal**2 - off**2, axis=-1)
                cross = 2 * np.sum(diagonal * off, axis=-1)
                angle = 0.5 * np.arctan2(cross, real + np.hypot(real, cross))
                angle = np.where(np.abs(angle) > SMALLEST_ANGLE, angle, 0.0)
                if not np.any(angle):
                    continue
                rotated = True
                c, s = np.cos(angle)[..., None], np.sin(angle)[..., None]
                _rotate_columns(v, p, q, c, s)
                _rotate_columns(left, p, q, c[..., None], s[..., None])
                _rotate_columns(np.swapaxes(left, -1, -2), p, q, c[..., None], s[..., None])
        if not rotated:
            break
    return v


def _rotate_columns(matrix: Array, p: int, q: int, c: Array, s: Array) -> None:
    """Rotate columns p and q of `(..., m, m)` in place."""
    first, second = matrix[..., p].copy(), matrix[..., q].copy()
    matrix[..., p] = c * first + s * second
    matrix[..., q] = c * second - s * first
