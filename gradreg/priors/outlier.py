"""A prior on numbers: closeness to the batch's median."""

from __future__ import annotations

import torch
from torch import Tensor

from gradreg.priors.base import Prior


class MedianOutlier(Prior):
    r"""A prior that keeps numbers near the median of their batch, in robust standard deviations.

    .. math::
        k(e_i) = [\,|e_i - \mathrm{med}| \le k \cdot 1.4826\,\mathrm{MAD}\,], \qquad
        \mathrm{MAD} = \mathrm{med}_i |e_i - \mathrm{med}|

    over the finite entries. For a Gaussian 1.4826 MAD is the standard deviation.

    Args:
        k: how many robust standard deviations from the median still count as signal.

    Raises:
        ValueError: `k` is not positive.
        TypeError: on use, complex evidence, which has no median.

    Example:
        >>> import gradreg, torch
        >>> gradreg.MedianOutlier(3.0)(torch.tensor([1.0, 1.1, 0.9, 1.05, 9.0])).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0]

    References:
        F. R. Hampel, The influence curve and its role in robust estimation, 1974.
    """

    def __init__(self, k: float = 3.0) -> None:
        if not k > 0:
            raise ValueError(f"expected k > 0 robust standard deviations, found {k}")
        self.k = k

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return the keep weights; evidence that isn't finite gets 0."""
        if evidence.is_complex():
            raise TypeError(
                f"MedianOutlier expects real evidence, found {evidence.dtype}: pass its modulus, "
                "evidence.abs()"
            )
        if evidence.numel() == 0:
            return torch.zeros_like(evidence)
        finite = evidence.where(evidence.isfinite(), torch.nan)
        distance = (finite - finite.nanmedian()).abs()
        spread = 1.4826 * distance.nanmedian()
        return (distance <= self.k * spread).to(evidence.dtype)
