"""A prior on predictions, for test-time adaptation: low entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradreg.priors.base import Prior


class Entropy(Prior):
    r"""A prior that keeps predictions of low entropy.

    .. math::
        k = [\,H(\mathrm{softmax}(z)) < max\_fraction \cdot \ln C\,]

    The evidence is logits z (..., C); the weight has shape (..., 1). If the loss has
    one entry per sample, as the entropies that test-time adaptation minimises, use
    `keepdim=False`:

        loss, keep = opt.verify(entropies, evidence=logits)  # (B,), (B, C) -> (B,), (B,)

    To exclude a class, use a large negative logit: minus infinity makes the evidence infinite,
    which the mask rejects.

    Args:
        max_fraction: of the largest entropy possible, ln C, in (0, 1]; the papers use 0.4.
        keepdim: keep the last dimension, as 1.

    Raises:
        ValueError: fraction out of range; on use, fewer than two classes.
        TypeError: on use, complex logits.

    Example:
        >>> import gradreg, torch
        >>> gradreg.Entropy(0.4)(torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]])).tolist()
        [[1.0], [0.0]]

    References:
        S. Niu, J. Wu, Y. Zhang et al., Efficient Test-Time Model Adaptation without Forgetting,
        2022 (EATA).
        S. Niu, J. Wu, Y. Zhang et al., Towards Stable Test-Time Adaptation in Dynamic Wild World,
        2023 (SAR).
    """

    def __init__(self, max_fraction: float = 0.4, *, keepdim: bool = True) -> None:
        if not 0 < max_fraction <= 1:
            raise ValueError(f"expected a fraction 0 < max_fraction <= 1, found {max_fraction}")
        self.max_fraction, self.keepdim = max_fraction, keepdim

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return one weight per prediction; 0 if a logit is NaN."""
        if evidence.is_complex():
            raise TypeError(f"Entropy expects real logits, found {evidence.dtype}")
        if evidence.ndim == 0 or evidence.shape[-1] < 2:
            raise ValueError(
                f"Entropy expects logits (..., C) of at least two classes, found shape "
                f"{tuple(evidence.shape)}: for a single logit z use torch.stack([z, 0 * z], -1)"
            )
        logits = evidence if evidence.dtype == torch.float64 else evidence.float()
        entropy = torch.special.entr(logits.softmax(-1)).sum(-1, keepdim=self.keepdim)
        return (entropy < self.max_fraction * math.log(evidence.shape[-1])).to(entropy.dtype)
