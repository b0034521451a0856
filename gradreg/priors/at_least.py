"""A prior on scores: a check's score must reach a threshold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradreg.priors.base import Prior


class AtLeast(Prior):
    r"""A prior that keeps evidence that reaches a threshold.

    .. math::
        k(e) = [\,e \ge threshold\,]

    or, with a soft edge below the threshold,

    .. math::
        k(e) = \min\Big(\max\Big(1 + \frac{e - threshold}{soft},\, 0\Big),\, 1\Big).

    For evidence of which more is better, such as the score of a check. It learns nothing: an
    entry's weight depends on its own evidence alone. `~AtLeast(threshold)` keeps what is below,
    NaN included, which `PostVerificationMask.verify` rejects all the same.

    Args:
        threshold: the least evidence that is kept, in the evidence's unit; of any sign.
        soft: width of the edge, in the evidence's unit too, since a share of the threshold means
            nothing where that is zero or negative. The weight falls linearly from 1 at `threshold`
            to 0 at `threshold - soft`; 0 is a hard edge.

    Raises:
        ValueError: a threshold that isn't finite, or a width that is negative or not finite.
        TypeError: on use, complex evidence, which has no order.

    Example:
        >>> import gradreg, torch
        >>> score = torch.tensor([0.05, 0.15, 0.2, 0.9, float("nan")])
        >>> gradreg.AtLeast(0.2)(score).tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0]
        >>> gradreg.AtLeast(-1.0, soft=2.0)(torch.tensor([-4.0, -2.0, -1.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    def __init__(self, threshold: float, *, soft: float = 0.0) -> None:
        if not math.isfinite(threshold):
            raise ValueError(f"expected a finite threshold, found {threshold}")
        if not (soft >= 0 and math.isfinite(soft)):
            raise ValueError(
                f"expected a finite width soft >= 0 in the evidence's unit, found {soft}"
            )
        self.threshold, self.soft = threshold, soft

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return the keep weights, of the evidence's shape; NaN evidence gets 0."""
        if evidence.is_complex():
            raise TypeError(
                f"AtLeast expects real evidence, found {evidence.dtype}: pass its modulus, "
                "evidence.abs()"
            )
        if not evidence.is_floating_point():
            evidence = evidence.to(torch.get_default_dtype())
        if self.soft == 0:
            return (evidence >= self.threshold).to(evidence.dtype)
        return (1 + (evidence - self.threshold) / self.soft).clamp(0, 1).nan_to_num(nan=0.0)
