"""The settings of gradreg's levels on a peer. Without them a peer is trained as published."""

from pydantic import Field

from rppg.estimators.pulse_score import PULSE_SCORE
from rppg.frozen_config import FrozenConfig


class PeerMaskConfig(FrozenConfig):
    """Gradient level: recordings whose score is below the threshold train nothing.

    The score is that of a reference estimator, not of the peer's own wave: that would confirm what
    the peer has learnt, wrong or right. `train_peer` also takes another function as `score`, of any
    range, so the threshold, unlike FCUS's, has no bounds.
    """

    threshold: float = Field(PULSE_SCORE, description="least score of a recording")


class PeerSmoothConfig(FrozenConfig):
    """Landscape level: sharpness-aware minimisation.

    For two passes, 0.05 is the usual rho.
    """

    rho: float = Field(0.1, ge=0)
    one_pass: bool = Field(
        True,
        description="perturb along the running gradient, which costs nothing; else along the "
        "step's own, by a second pass",
    )


class PeerProjectConfig(FrozenConfig):
    """Feature level: the response of the later layers to the background is preserved."""

    energy: float = Field(0.9, gt=0, le=1, description="share of the background's energy")
    max_fraction: float = Field(0.25, gt=0, le=1, description="cap on the share of dimensions")
    observe_clips: int = Field(8, ge=1, description="clips whose background is observed")
