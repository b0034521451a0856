"""The layers whose weights are projected, and the features that each weight is multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from gradreg.project.unfold import LAYERS, TRANSPOSED, feature_chunks, feature_shape
from gradreg.sharding import is_sharded


class CoveredLayers:
    """The layers of a model whose weights an optimizer updates.

    Args:
        model: the model; None for no layers.
        parameters: the optimizer's.
        include: name patterns, as in `"encoder.*"`; None means all.
        exclude: name patterns of the layers to leave out.
        bias: count each trained bias as the weight of one more feature that is always 1.

    Raises:
        ValueError: a pattern without a match, or a parametrized layer; with `bias`, a transposed
            convolution, or layers that share a weight but not the bias.
    """

    def __init__(
        self,
        model: nn.Module | None,
        parameters: Sequence[Tensor],
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        *,
        bias: bool = False,
    ) -> None:
        self.by_name = {} if model is None else choose_layers(model, parameters, include, exclude)
        # The weights as they are now: a layer may get another one later.
        self.weights = {module: cast(Tensor, module.weight) for module in self.by_name.values()}
        self.biases = trained_biases(self.by_name, set(parameters)) if bias else {}
        self._names = {self.weights[module]: name for name, module in self.by_name.items()}

    def describe(self, parameter: Tensor) -> str:
        """Return a description of a layer's weight or another parameter, for error messages."""
        name = self._names.get(parameter)
        return "a protected parameter" if name is None else f"the weight of layer {name!r}"

    def is_transposed(self, weight: Tensor) -> bool:
        """Return whether a layer's weight is that of a transposed convolution."""
        modules = [module for module, other in self.weights.items() if other is weight]
        return isinstance(modules[0], TRANSPOSED)

    def feature_shape(self, module: nn.Module) -> tuple[int, int]:
        """Return a layer's (groups, d), with the bias' feature if there is one."""
        groups, size = feature_shape(module)
        return groups, size + (self.weights[module] in self.biases)

    def features(self, module: nn.Module, x: Tensor) -> Iterator[Tensor]:
        """Unfold a layer's input to features (batch, positions, groups, d), chunk by chunk."""
        for features in feature_chunks(module, x):
            if self.weights[module] in self.biases:
                constant = 0.0 if module.bias is None else 1.0  # another layer has the bias
                yield nn.functional.pad(features, (0, 1), value=constant)
            else:
                yield features

    def check_observable(self, module: nn.Module) -> None:
        """Check that a layer has the weight that it had when the projector was built.

        Raises:
            RuntimeError: the weight is lazy or was replaced.
        """
        weight = self.weights[module]
        if is_lazy(weight):
            raise RuntimeError(
                f"the layer {self._names[weight]!r} has no weight yet: run the lazy model once "
                "before observing"
            )
        if module.weight is not weight and not is_sharded(weight):
            raise RuntimeError(
                f"{self.describe(weight)} was replaced since the projector was built: change it "
                "in place, or build optimizer and projector again"
            )

    def check_unchanged(self, observed: Mapping[Tensor, Tensor | None]) -> None:
        """Check that layers still have the parameters that were observed.

        Args:
            observed: weights of layers, each with the bias that is projected with it or None.

        Raises:
            RuntimeError: a weight was replaced, or is frozen while its bias isn't, or vice versa.
        """
        for module, weight in self.weights.items():
            if weight not in observed or is_sharded(weight):
                continue
            self.check_observable(module)
            bias = observed[weight]
            if bias is not None and bias.requires_grad != weight.requires_grad:
                raise RuntimeError(
                    f"layer {self._names[weight]!r} has either its weight or its bias frozen since "
                    "it was observed with bias=True: freeze both, or build the projector afterwards"
                )


def choose_layers(
    model: nn.Module,
    parameters: Sequence[Tensor],
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> dict[str, nn.Module]:
    """Return the model's layers, by name, whose weight is among the parameters.

    `MultiheadAttention` uses its `out_proj` without calling it, so it is not among them.

    Args:
        model: the model.
        parameters: the parameters that are optimized.
        include: name patterns, as in `"encoder.*"`; None means all.
        exclude: name patterns of the layers to leave out.

    Raises:
        ValueError: a pattern without a match, or a parametrized layer.
    """
    candidates = {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, LAYERS) and not isinstance(m, NonDynamicallyQuantizableLinear)
    }
    for pattern in [*(include or ()), *exclude]:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            names = ", ".join(candidates) or "none"
            raise ValueError(f"no layer's name matches {pattern!r}: the model has {names}")
    optimized = set(parameters)
    chosen: dict[str, nn.Module] = {}
    for name, module in candidates.items():
        if include is not None and not any(fnmatchcase(name, p) for p in include):
            continue
        if any(fnmatchcase(name, p) for p in exclude):
            continue
        if parametrize.is_parametrized(module, "weight") or parametrize.is_parametrized(
            module, "bias"
        ):
            raise ValueError(
                f"the weight of layer {name!r} is parametrized, so it isn't the parameter that is "
                "optimized: leave the layer out with exclude=, or remove the parametrization"
            )
        if module.weight in optimized:
            chosen[name] = module
    return chosen


def trained_biases(
    layers: Mapping[str, nn.Module], parameters: set[Tensor]
) -> dict[Tensor, Tensor]:
    """Return the bias that belongs to each weight, if it is trained.

    Raises:
        ValueError: a transposed convolution, or layers that share a weight but not the bias.
    """
    biases: dict[Tensor, Tensor] = {}
    for name, module in layers.items():
        weight, bias = cast(Tensor, module.weight), cast(Tensor | None, module.bias)
        if bias is None or bias not in parameters or not bias.requires_grad:
            continue
        if isinstance(module, TRANSPOSED):
            raise ValueError(
                f"bias=True: an output of the transposed convolution {name!r} is a sum over "
                "several inputs, so its bias is no feature's weight: leave the layer out with "
                "exclude=, freeze its bias, or build it with bias=False"
            )
        if biases.setdefault(weight, bias) is not bias:
            raise ValueError(
                f"bias=True: the layer {name!r} shares its weight with another layer, but not the "
                "bias: share that too, or leave one of the layers out with exclude="
            )
    return biases
