"""A weight of a layer that is covered, and why another parameter is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from gradreg.distributed import has_several_processes
from gradreg.project.unfold import LAYERS, TRANSPOSED, feature_shape, is_transformers_conv1d


@dataclass(frozen=True, eq=False)
class CoveredWeight:
    """A weight of a layer, and where it is in the model.

    Args:
        name: the layer's, `"encoder.0"`.
        module: the layer that is called.
        owner: the module that holds weight and bias, the layer itself or attention's `out_proj`.
        attribute: the weight's name there.
        bias_attribute: the bias' name there.
        weight: the weight as it was when the layers were chosen.
        inputs: what attention multiplies it with, among `query`, `key`, `value` and `heads`; empty
            for other layers, which have one input.
        bias_rows: first and last + 1 of the bias' entries that belong to this weight; None for all.
    """

    name: str
    module: nn.Module
    owner: nn.Module
    attribute: str
    bias_attribute: str
    weight: Tensor
    inputs: tuple[str, ...] = ()
    bias_rows: tuple[int, int] | None = None

    @property
    def is_token_table(self) -> bool:
        """Whether the weight is an embedding's, whose features are tokens."""
        return isinstance(self.module, nn.Embedding)

    @property
    def is_transposed(self) -> bool:
        """Whether the features are along the weight's first dimension."""
        return isinstance(self.module, (*TRANSPOSED, nn.Embedding)) or (
            not self.inputs and is_transformers_conv1d(self.module)
        )

    @property
    def was_left_to_protect(self) -> bool:
        """Whether `protect` was the way to cover it before layers of its kind were covered."""
        return not isinstance(self.module, LAYERS)

    @property
    def bias(self) -> Tensor | None:
        """The bias that is added to the weight's response."""
        return getattr(self.owner, self.bias_attribute, None)

    def describe(self) -> str:
        """Return a description for messages."""
        return f"the {self.attribute} of layer {self.name!r}"

    def feature_shape(self) -> tuple[int, int]:
        """Return (groups, d), without a bias."""
        if self.is_token_table:
            return 1, cast(nn.Embedding, self.module).num_embeddings
        if self.inputs:
            groups = len(self.inputs) if has_several_processes() else 1  # at first
            return groups, self.weight.shape[1]
        return feature_shape(self.module)


@dataclass(frozen=True)
class LeftOut:
    """Why a parameter is not covered, and whether the caller chose so."""

    reason: str
    chosen: bool = False
