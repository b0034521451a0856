"""The layers whose weights are projected, and the features that each weight is multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from gradreg.distributed import has_several_processes
from gradreg.project.attention import INPUTS, joined_inputs
from gradreg.project.unfold import (
    CHUNK,
    LAYERS,
    TRANSPOSED,
    feature_chunks,
    feature_shape,
    is_plain,
    is_transformers_conv1d,
)
from gradreg.sharding import is_sharded


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


def choose_weights(
    model: nn.Module | None,
    optimized: set[Tensor],
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> tuple[list[CoveredWeight], dict[Tensor, LeftOut]]:
    """Return the weights of a model's layers that are among the parameters, and the others.

    Args:
        model: the model.
        optimized: the parameters that are optimized.
        include: name patterns, as in `"encoder.*"`; None means all.
        exclude: name patterns of the layers to leave out.

    Returns:
        The covered weights, and why others are not covered.

    Raises:
        ValueError: a pattern without a match, or a weight that is computed from others.
    """
    modules = {} if model is None else dict(model.named_modules())
    inside = {m.out_proj for m in modules.values() if isinstance(m, nn.MultiheadAttention)}
    candidates = {n: m for n, m in modules.items() if _is_candidate(m) and m not in inside}
    _check_patterns(include or (), candidates, candidates)
    # Also modules that can't be covered, so that they can be left out of the report.
    with_parameters = {n: m for n, m in modules.items() if n in candidates or m._parameters}
    _check_patterns(exclude, candidates, with_parameters)
    left_out: dict[Tensor, LeftOut] = {}
    chosen: list[CoveredWeight] = []
    for name, module in modules.items():
        if not _is_chosen(name, include, exclude):
            by_choice = LeftOut("left out by include= or exclude=", chosen=True)
            parameters = module.parameters(recurse=name in candidates)
            left_out.update(dict.fromkeys(parameters, by_choice))
    for name, module in candidates.items():
        if not _is_chosen(name, include, exclude):
            continue
        own = [p for p in module.parameters() if p in optimized]
        reason = _reason_against(module)
        if reason is not None:
            left_out.update(dict.fromkeys(own, LeftOut(reason)))
            continue
        weights = [w for w in _weights_of(name, module) if _is_chosen(w.name, None, exclude)]
        _check_plain_parameters(name, module, weights, optimized)
        chosen += [covered for covered in weights if covered.weight in optimized]
    return _with_one_layout(chosen, left_out)


def _is_candidate(module: nn.Module) -> bool:
    if isinstance(module, LAYERS):
        # One that is another attention's out_proj, which isn't called as a module.
        return not isinstance(module, NonDynamicallyQuantizableLinear)
    kinds = (nn.MultiheadAttention, nn.Embedding)
    return isinstance(module, kinds) or is_transformers_conv1d(module)


def _is_chosen(name: str, include: Sequence[str] | None, exclude: Sequence[str]) -> bool:
    included = include is None or any(fnmatchcase(name, p) for p in include)
    return included and not any(fnmatchcase(name, p) for p in exclude)


def _check_patterns(
    patterns: Sequence[str], layers: Mapping[str, nn.Module], matched: Mapping[str, nn.Module]
) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in matched):
            names = ", ".join(layers) or "none"
            raise ValueError(f"no layer's name matches {pattern!r}: the model has {names}")


def _reason_against(module: nn.Module) -> str | None:
    """Return why a layer can't be covered, though it is of a kind that can."""
    name = type(module).__name__
    if isinstance(module, LAYERS) and not is_plain(module):
        return f"{name} has a forward of its own, whose features aren't known: use protect()"
    if isinstance(module, nn.Embedding):
        if not is_plain(module, (nn.Embedding,)):
            return f"{name} has a forward of its own, whose features aren't known: use protect()"
        if module.max_norm is not None:
            return "its max_norm changes the weight outside of the step: use max_norm=None"
    return None


def _weights_of(name: str, module: nn.Module) -> list[CoveredWeight]:
    """Return the weights of a layer, whether they are optimized or not."""
    if not isinstance(module, nn.MultiheadAttention):
        return [CoveredWeight(name, module, module, "weight", "bias", cast(Tensor, module.weight))]
    size = module.embed_dim
    weights = []
    for attribute, inputs in INPUTS.items():
        weight = getattr(module, attribute)
        if weight is not None:
            place = ("query", "key", "value").index(inputs[0])
            rows = None if len(inputs) > 1 else (place * size, (place + 1) * size)
            weights.append(
                CoveredWeight(name, module, module, attribute, "in_proj_bias", weight, inputs, rows)
            )
    out = module.out_proj
    return [
        *weights,
        CoveredWeight(f"{name}.out_proj", module, out, "weight", "bias", out.weight, ("heads",)),
    ]


def _check_plain_parameters(
    name: str, module: nn.Module, weights: Sequence[CoveredWeight], optimized: set[Tensor]
) -> None:
    """Raise a ValueError if a weight or bias is no parameter, but computed from parameters."""
    for covered in weights:
        for attribute in (covered.attribute, covered.bias_attribute):
            owner = covered.owner
            if parametrize.is_parametrized(owner, attribute):
                raise ValueError(
                    f"the weight of layer {name!r} is parametrized, so it isn't the parameter that "
                    "is optimized: leave the layer out with exclude=, or remove the parametrization"
                )
            if attribute in owner._parameters:
                continue
            # As weight_norm, spectral_norm and pruning of torch.nn.utils do, by a hook.
            sources = [
                other
                for other, p in owner.named_parameters(recurse=False)
                if other.startswith(f"{attribute}_") and p in optimized
            ]
            if sources:
                raise ValueError(
                    f"the {attribute} of layer {name!r} is computed from {', '.join(sources)} by a "
                    "hook (weight_norm, spectral_norm or pruning), so it isn't the parameter that "
                    "is optimized: leave the layer out with exclude=, or remove the hook"
                )


def _with_one_layout(
    chosen: Sequence[CoveredWeight], left_out: dict[Tensor, LeftOut]
) -> tuple[list[CoveredWeight], dict[Tensor, LeftOut]]:
    """Drop layers that read a shared weight along another dimension than the first does.

    Of an embedding that shares its weight with an output layer, the output layer is covered.
    """
    first: dict[Tensor, CoveredWeight] = {}
    for covered in sorted(chosen, key=lambda c: c.is_token_table):
        first.setdefault(covered.weight, covered)
    kept, half_covered = [], {}
    for covered in chosen:
        other = first[covered.weight]
        if covered.is_transposed == other.is_transposed:
            kept.append(covered)
        else:
            half_covered[covered.weight] = LeftOut(
                f"covered as the weight of {other.name!r}, not as that of {covered.name!r}, which "
                "shares it along another dimension: exclude the latter, or don't share"
            )
    weights = {covered.weight for covered in kept}
    return kept, {p: why for p, why in left_out.items() if p not in weights} | half_covered


def trained_biases(
    layers: Sequence[CoveredWeight], parameters: set[Tensor]
) -> dict[Tensor, Tensor]:
    """Return the bias that belongs to each weight, if both are trained.

    Raises:
        ValueError: a transposed convolution, or layers that share a weight but not the bias.
    """
    biases: dict[Tensor, Tensor] = {}
    for covered in layers:
        bias, weight = covered.bias, covered.weight
        if bias is None or bias not in parameters or not bias.requires_grad:
            continue
        if isinstance(covered.module, TRANSPOSED):
            raise ValueError(
                f"bias=True: an output of the transposed convolution {covered.name!r} is a sum "
                "over several inputs, so its bias is no feature's weight: leave the layer out with "
                "exclude=, freeze its bias, or build it with bias=False"
            )
        if covered.bias_rows is not None and is_sharded(bias):
            raise ValueError(
                f"bias=True: the attention {covered.name!r} has separate weights for queries, keys "
                "and values, whose one bias is sharded: leave it out with exclude=, or use "
                "bias=False"
            )
        if biases.setdefault(weight, bias) is not bias:
            raise ValueError(
                f"bias=True: the layer {covered.name!r} shares its weight with another layer, but "
                "not the bias: share that too, or leave one of the layers out with exclude="
            )
    return biases
