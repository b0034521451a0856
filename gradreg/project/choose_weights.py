"""The choice of a model's layers whose weights, and biases, are covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from gradreg.project.attention import INPUTS
from gradreg.project.covered_weight import CoveredWeight, LeftOut
from gradreg.project.unfold import LAYERS, TRANSPOSED, is_plain, is_transformers_conv1d
from gradreg.sharding import is_sharded


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
