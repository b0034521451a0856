"""The configuration of a training run; it is written into every checkpoint."""

from collections.abc import Mapping
from typing import Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from rppg.estimators.pulse_score import PULSE_SCORE
from rppg.frozen_config import FrozenConfig
from rppg.models.fcus import ModelConfig


class ObjectiveWeights(FrozenConfig):
    """Weights of the objective's terms."""

    sparsity: float = 1.0
    variance: float = 1.0
    coherence: float = 0.5


class MaskConfig(FrozenConfig):
    """Gradient level: clips without a pulse give no gradient."""

    threshold: float = Field(
        PULSE_SCORE, ge=0, le=1, description="least score of a clip that is trained on"
    )

    @model_validator(mode="before")
    @classmethod
    def _former(cls, fields: Any) -> Any:
        """Refuse the fields of the former mask, by amplitude, in words that say what to do."""
        former = {"low", "high", "quantile", "span_s"}
        if isinstance(fields, Mapping) and (found := sorted(former & fields.keys())):
            raise ValueError(
                f"{', '.join(found)}: of the former mask, by amplitude; the mask now judges clips "
                "by their score: give threshold, or leave the section out"
            )
        return fields


class SmoothConfig(FrozenConfig):
    """Landscape level: sharpness-aware minimisation."""

    rho: float = Field(0.02, ge=0)


class ProjectConfig(FrozenConfig):
    """Feature level: the attention's response to the background beside the head is preserved."""

    energy: float = Field(0.5, gt=0, le=1)
    max_fraction: float = Field(0.25, gt=0, le=1, description="cap on the share of dimensions")
    observe_clips: int = Field(32, ge=1, description="clips whose background is observed")


class TrainConfig(FrozenConfig):
    """A training run. `mask`, `smooth` and `project` are switched off by None."""

    data: tuple[str, ...] = ("synthetic:webcam",)
    subjects: int = Field(60, ge=1, description="recordings per synthetic domain")
    require_pulse: bool = Field(
        False,
        description="leave out recordings in which no pulse is found; else only warn of them",
    )
    epochs: int = Field(1, ge=1)
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    batch_size: int = Field(4, ge=2)
    clip_s: float = Field(10.0, ge=3)
    stride_s: float = Field(2.5, gt=0)
    lr: float = Field(1e-2, gt=0, description="of the attention network")
    lr_physics: float = Field(1e-2, gt=0, description="of ridges, choice and fusion")
    weight_decay: float = Field(0.01, ge=0)
    tether: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="share of the distance to its start that the physics moves back in a step",
    )
    averaged: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of an epoch's steps, the last ones, whose mean weights it ends with; "
        "0.5 for several epochs",
    )
    model: ModelConfig = ModelConfig()
    objective: ObjectiveWeights = ObjectiveWeights()
    mask: MaskConfig | None = MaskConfig()
    smooth: SmoothConfig | None = SmoothConfig()
    project: ProjectConfig | None = ProjectConfig()

    @model_serializer(mode="wrap")
    def _without_new_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `require_pulse` where it is off: such a run has the digest it had."""
        fields: dict[str, Any] = serialize(self)
        return {k: v for k, v in fields.items() if k != "require_pulse" or v}
