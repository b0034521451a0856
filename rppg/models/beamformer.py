"""Spectral covariation as a differentiable beamformer.

The pulse changes the spectral channels together, in the proportions of a fixed signature p; light
and motion change them in other proportions. Of all mixtures of the channels with gain one on the
signature, the beamformer is the one with the least power (Capon, "High-resolution
frequency-wavenumber spectrum analysis", 1969): with Q the covariance of what is to be suppressed,

    w = Q⁻¹ p / (pᵀ Q⁻¹ p),    y(t) = wᵀ x(t).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def covariance(x: Tensor) -> Tensor:
    """Return the second moment `(..., C, C)` of traces `(..., C, T)`."""
    return x @ x.mT / x.shape[-1]


def load_diagonal(q: Tensor, ridge: Tensor | float) -> Tensor:
    """Return `q + ridge · trace(q) / C · I`; relative, since AC/DC covariances are about 1e-6."""
    trace = q.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] / q.shape[-1]
    eye = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    return q + (ridge * trace + 1e-12) * eye


def beamformer_weights(q: Tensor, signatures: Tensor) -> Tensor:
    """Return weights `(..., K, C)` for covariances `(..., C, C)` and signatures `(K, C)`."""
    towards = signatures.mT.expand(*q.shape[:-2], -1, -1)
    weights = torch.linalg.solve(q, towards).mT
    return weights / (weights * signatures).sum(-1, keepdim=True)


def cancel_references(x: Tensor, references: Tensor, gram: Tensor) -> Tensor:
    """Remove from traces the part that a linear mixture of reference traces explains.

    The mixture is the ridge regression `a = (R Rᵀ / T + Λ)⁻¹ R xᵀ / T`, of each trace on all
    references.

    Args:
        x: `(B, ..., T)`.
        references: `(B, M, T)`.
        gram: `(B, M, M)`, the references' covariance plus its loading Λ: a reference that is small
            compared with Λ has no effect.

    Returns:
        The residual, same shape as `x`.
    """
    flat = x.flatten(1, -2)
    mixture = torch.linalg.solve(gram, references @ flat.mT / x.shape[-1])
    return (flat - mixture.mT @ references).view_as(x)


def unfold_windows(x: Tensor, length: int, hop: int) -> Tensor:
    """Return windows `(..., N, length)` of `(..., T)`, centred on every `hop`-th sample."""
    flat = x.flatten(0, -2)[None]
    padded = F.pad(flat, (length // 2, length // 2 + hop), mode="reflect")[0]
    return padded.unfold(-1, length, hop).unflatten(0, x.shape[:-1])


def window_shares(count: int, length: int, hop: int, time: int, like: Tensor) -> Tensor:
    """Return the shares `(N, T)` of `unfold_windows`'s windows in each sample, which sum to 1.

    They are Hann windows: weights that are constant in a window are cross-faded to the next one's.
    """
    hann = torch.hann_window(length, dtype=like.dtype, device=like.device)
    sample = torch.arange(time, device=like.device)
    index = sample - hop * torch.arange(count, device=like.device)[:, None] + length // 2
    inside = (index >= 0) & (index < length)
    shares = torch.where(inside, hann[index.clamp(0, length - 1)], 0.0)
    return shares / shares.sum(0).clamp(min=1e-3)


def apply_weights(weights: Tensor, shares: Tensor, x: Tensor) -> Tensor:
    """Mix the channels of traces by weights that change from window to window.

    Args:
        weights: `(B, R, N, K, C)` of N windows; R may be 1, for the same weights in all regions.
        shares: `(N, T)`, of `window_shares`.
        x: `(B, R, C, T)`.

    Returns:
        `(B, K, R, T)`.
    """
    over_time = torch.einsum("brnkc,nt->bkrct", weights, shares)
    return (over_time * x[:, None]).sum(3)
