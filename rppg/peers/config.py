"""The configuration of a peer's training; it is written into every checkpoint."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from rppg.frozen_config import FrozenConfig
from rppg.models.physnet import PhysNetConfig
from rppg.peers.contrast_phys import ContrastConfig
from rppg.peers.levels import PeerMaskConfig, PeerProjectConfig, PeerSmoothConfig
from rppg.peers.sinc import SincConfig
from rppg.renamed import warn_of_old_name

LEAST_CLIP_S = 3.0
LEVELS = ("mask", "smooth", "project")

Method = Literal["sinc", "contrast-phys"]

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "sinc": {"model": {}},
    "contrast-phys": {
        "epochs": 30,
        "clip_frames": 300,
        "stride_frames": 300,
        "batch_size": 2,
        "lr": 1e-5,
        "model": {
            "scaling": "standard",
            "taps": 3,
            "halvings": 2,
            "pooling": "average",
            "activation": "elu",
            "padding": "zeros",
            "dropout": 0.0,
            "spatial": 2,
        },
    },
}
"""A method's published constants, where they differ from the defaults of the fields below."""


class PeerConfig(FrozenConfig):
    """A training run of PhysNet. Fields that are not given are as the method publishes them.

    The exception is `model.side`, 32: the size at which this repository compares networks. SiNC
    publishes 64, Contrast-Phys 128. gradreg's levels `mask`, `smooth` and `project` are no part of
    what is published: None, their default, leaves them out.

    Example:
        >>> PeerConfig(method="contrast-phys").clip_frames, PeerConfig().clip_frames
        (300, 120)
    """

    method: Method = "sinc"
    data: tuple[str, ...] = ("synthetic:webcam",)
    subjects: int = Field(60, ge=1, description="recordings per synthetic domain")
    require_pulse: bool = Field(
        False,
        description="leave out recordings in which no pulse is found; else only warn of them",
    )
    epochs: int = Field(200, ge=1)
    patience: int | None = Field(
        None, ge=1, description="epochs without a better criterion after which to stop"
    )
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    clip_frames: int = Field(120, ge=1, description="length of a clip")
    stride_frames: int = Field(
        60,
        ge=1,
        description="an epoch sees one clip per so many frames: with SiNC they begin at multiples "
        "of it, with Contrast-Phys at random",
    )
    batch_size: int = Field(20, ge=1, description="clips; with Contrast-Phys videos, 2 or more")
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the convolutions while training; bfloat16 is not published"
    )
    model: PhysNetConfig = PhysNetConfig()
    sinc: SincConfig = SincConfig()
    contrast: ContrastConfig = ContrastConfig()
    select: Literal["own", "reference"] = Field(
        "own",
        description="criterion that selects the epoch: the method's own, or the share of the "
        "wave's power away from the pulse that a reference estimator finds",
    )
    mask: PeerMaskConfig | None = None
    smooth: PeerSmoothConfig | None = None
    project: PeerProjectConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, fields: Any) -> Any:
        """Fill in the method's constants."""
        if not isinstance(fields, Mapping):
            return fields
        if "recipe" in fields:
            if "method" in fields:
                raise ValueError("both method and recipe, its former name; leave recipe out")
            warn_of_old_name("PeerConfig's recipe", "method", stacklevel=4)
            fields = {"method" if k == "recipe" else k: v for k, v in fields.items()}
        published = PUBLISHED.get(str(fields.get("method", "sinc")))
        if published is None:  # refused by the field
            return fields
        filled = {**published, **fields}
        if isinstance(model := fields.get("model"), Mapping):
            filled["model"] = {**published["model"], **model}
        return filled

    @model_validator(mode="after")
    def _pairs(self) -> "PeerConfig":
        if self.method == "contrast-phys" and self.batch_size < 2:
            raise ValueError("contrast-phys compares videos; give a batch_size of 2 or more")
        if self.clip_s < LEAST_CLIP_S:
            raise ValueError(
                f"clips of {self.clip_frames} frames last {self.clip_s:g} s; give clip_frames for "
                f"{LEAST_CLIP_S:g} s or more"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_new_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not published, where it is off: such a run has the digest it had."""
        fields: dict[str, Any] = serialize(self)
        off = {**dict.fromkeys(LEVELS), "select": "own", "require_pulse": False}
        return {k: v for k, v in fields.items() if k not in off or v != off[k]}

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels that are switched on."""
        return tuple(level for level in LEVELS if getattr(self, level) is not None)

    @property
    def recipe(self) -> str:
        """The former name of `method`."""
        warn_of_old_name("PeerConfig.recipe", "method")
        return self.method

    @property
    def clip_s(self) -> float:
        """Length of a clip in seconds."""
        return self.clip_frames / self.model.fps
