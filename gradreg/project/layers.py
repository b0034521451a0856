"""The layers whose weights are projected, and the features that each weight is multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradreg.distributed import has_several_processes
from gradreg.project.attention import joined_inputs
from gradreg.project.choose_weights import choose_weights, trained_biases
from gradreg.project.covered_weight import CoveredWeight
from gradreg.project.unfold import CHUNK, feature_chunks, is_transformers_conv1d
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
        ValueError: a pattern without a match, or a weight that is computed from others; with
            `bias`, a transposed convolution, or layers that share a weight but not the bias.
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
        self._model, self._include, self._exclude, self._bias = model, include, exclude, bias
        self.covered: list[CoveredWeight] = []
        self.biases: dict[Tensor, Tensor] = {}
        self.follow(parameters)

    def follow(self, parameters: Sequence[Tensor]) -> None:
        """Cover the layers of parameters that were added to the optimizer or unfrozen since.

        A layer that was covered stays so: if it has got another weight, which is an error, or if
        its weight was taken out of the optimizer, perhaps to be added again.
        """
        optimized = set(parameters)
        chosen, self.left_out = choose_weights(self._model, optimized, self._include, self._exclude)
        places = {(covered.owner, covered.attribute) for covered in self.covered}
        self.covered += [c for c in chosen if (c.owner, c.attribute) not in places]
        self.by_name = {covered.name: covered.module for covered in self.covered}
        self.by_weight: dict[Tensor, CoveredWeight] = {}
        self.by_module: dict[nn.Module, list[CoveredWeight]] = {}
        for covered in self.covered:
            self.by_weight.setdefault(covered.weight, covered)
            self.by_module.setdefault(covered.module, []).append(covered)
        self.biases = trained_biases(self.covered, optimized) if self._bias else {}

    def describe(self, parameter: Tensor) -> str:
        """Return a description of a layer's weight or another parameter, for error messages."""
        covered = self.by_weight.get(parameter)
        return "a protected parameter" if covered is None else covered.describe()

    def feature_shape(self, covered: CoveredWeight) -> tuple[int, int]:
        """Return a weight's (groups, d), with the bias' feature if there is one."""
        groups, size = covered.feature_shape()
        return groups, size + (covered.weight in self.biases)

    def features(
        self, covered: CoveredWeight, x: Tensor, batch_dim: int | None = None
    ) -> Iterator[Tensor]:
        """Unfold a layer's input to features (batch, positions, groups, d), chunk by chunk.

        An embedding's are tokens (batch, positions).

        Args:
            covered: the weight.
            x: the layer's input.
            batch_dim: which dimension of a linear layer's or embedding's input is the batch.
        """
        if covered.is_token_table:
            tokens = x.movedim(batch_dim or 0, 0) if x.ndim > 1 else x
            yield tokens.reshape(tokens.shape[0] if x.ndim > 1 else 1, -1)
            return
        if batch_dim and x.ndim > 2 and has_rows(covered.module):
            x = x.movedim(batch_dim, 0)
        for features in feature_chunks(covered.module, x):
            if covered.weight in self.biases:
                constant = 0.0 if covered.bias is None else 1.0  # another layer has the bias
                yield nn.functional.pad(features, (0, 1), value=constant)
            else:
                yield features

    def attention_features(
        self, covered: CoveredWeight, inputs: Mapping[str, Tensor]
    ) -> Iterator[Tensor]:
        """Return the features of a weight of attention, chunk by chunk; see `features`.

        The packed input projection has one group if queries, keys and values are the same, else
        three. With several processes, which have to agree, it always has three.
        """
        joined = joined_inputs(
            [inputs[name] for name in covered.inputs],
            covered.weight in self.biases,
            merge=not has_several_processes(),
        )
        if joined.numel():
            step = max(1, CHUNK * joined.shape[1] // joined.numel())
            yield from torch.split(joined, step, dim=1)

    def check_observable(self, covered: CoveredWeight) -> None:
        """Check that a layer has the weight that it had when the projector was built.

        Raises:
            RuntimeError: the weight is lazy or was replaced.
        """
        weight = covered.weight
        if is_lazy(weight):
            raise RuntimeError(
                f"the layer {covered.name!r} has no weight yet: run the lazy model once "
                "before observing"
            )
        if getattr(covered.owner, covered.attribute) is not weight and not is_sharded(weight):
            raise RuntimeError(
                f"{covered.describe()} was replaced since the projector was built: change it "
                "in place, or build optimizer and projector again"
            )

    def check_unchanged(
        self, observed: Mapping[Tensor, Tensor | None], parameters: set[Tensor]
    ) -> None:
        """Check that layers still have the parameters that were observed.

        Args:
            observed: weights of layers, each with the bias that is projected with it or None.
            parameters: the optimizer's.

        Raises:
            RuntimeError: a weight was replaced, or is frozen while its bias isn't, or vice versa.
        """
        for covered in self.covered:
            weight = covered.weight
            if weight not in observed or is_sharded(weight):
                continue
            self.check_observable(covered)
            bias = observed[weight]
            differs = bias is not None and bias.requires_grad != weight.requires_grad
            if self._bias and bias is None and weight.requires_grad:
                unfrozen = covered.bias
                differs |= unfrozen is not None and (
                    unfrozen.requires_grad and unfrozen in parameters
                )
            if differs:
                raise RuntimeError(
                    f"layer {covered.name!r} has either its weight or its bias frozen, or had it "
                    "when it was observed with bias=True: observe the layer again, or freeze both"
                )


def has_rows(module: nn.Module) -> bool:
    """Return whether a layer multiplies the rows of an input with any number of dimensions."""
    return isinstance(module, nn.Linear) or is_transformers_conv1d(module)
