"""The base of all configurations that are written into checkpoints."""

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """A configuration, or a section of one: immutable; unknown names and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
