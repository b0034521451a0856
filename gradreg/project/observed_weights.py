"""The weights for which features were observed, and what is learnt of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradreg.project.layers import CoveredLayers
from gradreg.project.selection import Summary, double_precision, new_summary
from gradreg.project.tokens import TokenCounts
from gradreg.project.weight import Kind, ProtectedWeight


class ObservedWeights(Mapping[Tensor, ProtectedWeight]):
    """The weights for which features were observed, by parameter.

    Args:
        layers: the layers that the projector covers.
    """

    def __init__(self, layers: CoveredLayers) -> None:
        self._layers = layers
        self._by_parameter: dict[Tensor, ProtectedWeight] = {}

    def __getitem__(self, parameter: Tensor) -> ProtectedWeight:
        return self._by_parameter[parameter]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._by_parameter)

    def __len__(self) -> int:
        return len(self._by_parameter)

    # ---- Observe --------------------------------------------------------------------------------

    def new_summary(
        self, parameter: Tensor, groups: int, size: int, sketch_size: int | None
    ) -> Summary:
        """Return an empty summary of a parameter's features, of the type of an earlier one.

        Args:
            parameter: the parameter.
            groups: number of groups.
            size: d, entries of a feature vector.
            sketch_size: rows of a sketch; None for the exact second moment.
        """
        weight = self.get(parameter)
        earlier = None if weight is None else weight.noise or weight.signal
        return new_summary(parameter, groups, size, sketch_size, earlier)

    def learn(
        self, parameter: Tensor, kind: Kind, summary: Summary, dim: int | None, forgetting: float
    ) -> None:
        """Add a new observation of a parameter's features.

        Args:
            parameter: the parameter.
            kind: what was observed.
            summary: of its features.
            dim: the dimension that is multiplied with them; None for a layer's weight.
            forgetting: factor on earlier observations.

        Raises:
            ValueError: it was observed along another dimension.
        """
        if parameter not in self:
            dtype = double_precision(parameter)
            if isinstance(summary, TokenCounts):
                dtype = torch.int64
            basis = torch.zeros(*summary.shape, 0, dtype=dtype, device=parameter.device)
            self._by_parameter[parameter] = self._new_weight(parameter, dim, basis)
        weight = self[parameter]
        if weight.dim != dim:
            raise ValueError(
                f"this parameter of shape {tuple(parameter.shape)} is already observed "
                f"{'as a layer' if weight.dim is None else f'along dim {weight.dim}'}: found "
                f"{'a layer' if dim is None else f'dim {dim}'}"
            )
        weight.learn(kind, summary, forgetting)

    def _new_weight(self, parameter: Tensor, dim: int | None, basis: Tensor) -> ProtectedWeight:
        if parameter.dtype in (torch.bfloat16, torch.float16) and not any(
            p.dtype == parameter.dtype for p in self
        ):
            warnings.warn(
                f"NullSpaceProjector protects a {parameter.dtype} parameter: its response to "
                "noise is kept up to that dtype's rounding in each step, which adds up over many; "
                "keep parameters in float32, with autocast, to have it kept",
                stacklevel=2,
            )
        covered = self._layers.by_weight.get(parameter) if dim is None else None
        if covered is None:
            return ProtectedWeight(dim, basis, False, None, parameter.shape)
        bias = self._layers.biases.get(parameter)
        return ProtectedWeight(
            dim, basis, covered.is_transposed, bias, parameter.shape, covered.bias_rows
        )

    # ---- By hand, or as a layer -----------------------------------------------------------------

    def protected_by_hand(self) -> set[Tensor]:
        """Return the weights that `protect` was called for, of layers that left it to that once."""
        return {
            parameter
            for parameter, weight in self.items()
            if weight.dim is not None and self._is_left_to_protect(parameter)
        }

    def forget_layer_left_to_protect(self, parameter: Tensor) -> None:
        """Forget what was observed of such a layer: features that are given replace it."""
        weight = self.get(parameter)
        if weight is not None and weight.dim is None and self._is_left_to_protect(parameter):
            del self._by_parameter[parameter]

    def _is_left_to_protect(self, parameter: Tensor) -> bool:
        covered = self._layers.by_weight.get(parameter)
        return covered is not None and covered.was_left_to_protect

    # ---- Changes of the model -------------------------------------------------------------------

    def forget_other_biases(self) -> None:
        """Forget layers that were observed with another bias than is trained now, or with none.

        They were observed with one feature more or less.
        """
        for parameter, weight in list(self.items()):
            bias = self._layers.biases.get(parameter)
            is_layer = weight.dim is None and parameter in self._layers.by_weight
            if is_layer and bias is not weight.bias:
                del self._by_parameter[parameter]

    def check_unchanged(self, parameters: Sequence[Tensor]) -> None:
        """Check that weights are still those observed.

        Args:
            parameters: the optimizer's.

        Raises:
            RuntimeError: a weight was replaced or has another shape, or is frozen while its bias
                isn't, or vice versa.
        """
        layers = {p: weight.bias for p, weight in self.items() if weight.dim is None}
        self._layers.check_unchanged(layers, set(parameters))
        for parameter, weight in self.items():
            if parameter.shape != weight.shape:
                raise RuntimeError(
                    f"{self._layers.describe(parameter)} has shape {tuple(parameter.shape)}, and "
                    f"had {tuple(weight.shape)} when it was observed: build optimizer and "
                    "projector again"
                )

    # ---- State ----------------------------------------------------------------------------------

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        """Return summaries and bases by the index of the parameter among the optimizer's."""
        index = {parameter: str(i) for i, parameter in enumerate(parameters)}
        return {index[p]: weight.state_dict() for p, weight in self.items() if p in index}

    def load_state_dict(self, state: Mapping[str, Any], parameters: Sequence[Tensor]) -> None:
        """Restore what `state_dict` returned, in place of what was observed."""
        self._by_parameter.clear()
        for i, saved in state.items():
            parameter = parameters[int(i)]
            weight = self._new_weight(parameter, saved["dim"], saved["basis"].to(parameter.device))
            weight.load_state_dict(saved)
            self._by_parameter[parameter] = weight
