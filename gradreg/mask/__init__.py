"""Gradient level: outputs that fail verification contribute no gradient."""

from gradreg.mask.counts import MaskStats, MaskStep
from gradreg.mask.kept_mean import kept_mean
from gradreg.mask.level import PostVerificationMask

__all__ = ["MaskStats", "MaskStep", "PostVerificationMask", "kept_mean"]
