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


def fold_windows(windows: Tensor, time: int, hop: int) -> Tensor:
    """Undo `unfold_windows` by Hann-weighted overlap-add: `(..., N, L)` to `(..., T)`, gain one."""
    count, length = windows.shape[-2:]
    hann = torch.hann_window(length, dtype=windows.dtype, device=windows.device)
    gain = _overlap_add(hann.expand(count, length), hop).clamp(min=1e-3)
    start = length // 2
    return (_overlap_add(windows * hann, hop) / gain)[..., start : start + time]


def _overlap_add(windows: Tensor, hop: int) -> Tensor:
    """Add windows `(..., N, L)`, one every `hop` samples, to `(..., T)`.

    A sum of shifted pieces: the scatter of `F.fold` is slower, and as ONNX, onnxruntime adds in
    parallel and occasionally loses a term.
    """
    pieces = windows.split(hop, -1)
    last = len(pieces) - 1
    padded = [
        F.pad(piece, (0, hop - piece.shape[-1], i, last - i)) for i, piece in enumerate(pieces)
    ]
    return sum(padded[1:], padded[0]).flatten(-2)
