"""The report of which trained parameters the projector protects, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradreg.project.covered_weight import LeftOut
from gradreg.project.layers import CoveredLayers
from gradreg.project.selection import Selection, feature_size
from gradreg.project.weight import ProtectedWeight

MATRIX = 2
"""Number of dimensions from which on a parameter is multiplied with features."""


@dataclass(frozen=True)
class ParameterCoverage:
    """Whether one trained parameter is protected.

    Args:
        name: its name in the model.
        size: number of its entries.
        dimensions: number of its dimensions.
        covered: whether its response to observed noise is kept.
        reason: why not; empty if it is covered.
        chosen: whether the caller left it out.
    """

    name: str
    size: int
    dimensions: int
    covered: bool
    reason: str
    chosen: bool = False


@dataclass(frozen=True)
class Coverage:
    """What a projector protects; `print(opt.coverage())` shows a table.

    Args:
        parameters: the trained parameters, in the optimizer's order.
    """

    parameters: tuple[ParameterCoverage, ...]

    @property
    def covered(self) -> tuple[ParameterCoverage, ...]:
        """The parameters that are protected."""
        return tuple(p for p in self.parameters if p.covered)

    @property
    def uncovered(self) -> tuple[ParameterCoverage, ...]:
        """The parameters that are not."""
        return tuple(p for p in self.parameters if not p.covered)

    @property
    def share(self) -> float:
        """Share of the trained entries that are protected; 1 if nothing is trained."""
        return _share(self.covered, self.parameters)

    @property
    def missed(self) -> tuple[ParameterCoverage, ...]:
        """Matrices and kernels that are not protected, though the caller didn't leave them out."""
        return tuple(p for p in self.uncovered if p.dimensions >= MATRIX and not p.chosen)

    @property
    def missed_share(self) -> float:
        """Share of `missed` among the entries of all matrices and kernels not left out."""
        counted = [p for p in self.parameters if p.dimensions >= MATRIX and not p.chosen]
        return 1 - _share([p for p in counted if p.covered], counted)

    def __str__(self) -> str:
        width = max([len(p.name) for p in self.parameters], default=0)
        lines = [
            f"{'yes' if p.covered else 'no ':3}  {p.name:{width}}  {p.size:>10}  {p.reason}"
            for p in self.parameters
        ]
        return "\n".join([*lines, f"{self.share:.0%} of the trained entries are covered"])


def _share(part: Sequence[ParameterCoverage], whole: Sequence[ParameterCoverage]) -> float:
    total = sum(p.size for p in whole)
    return sum(p.size for p in part) / total if total else 1.0


def coverage_of(
    parameters: Sequence[Tensor],
    strengths: Mapping[Tensor, float],
    weights: Mapping[Tensor, ProtectedWeight],
    *,
    model: nn.Module | None,
    layers: CoveredLayers,
    selection: Selection,
) -> Coverage:
    """Return what a projector protects of an optimizer's parameters.

    Args:
        parameters: the optimizer's.
        strengths: of each.
        weights: those for which something was observed.
        model: the projector's.
        layers: the model's layers that are covered.
        selection: the rule by which directions are protected.
    """
    named = [] if model is None else list(model.named_parameters())
    names: dict[Tensor, str] = {p: name for name, p in named}
    owners = _owners(model)
    biases = {weight.bias for weight in weights.values()}
    with_weight = {covered.owner for covered in layers.covered}

    def reason_against(parameter: Tensor) -> LeftOut | None:
        if strengths[parameter] == 0:
            return LeftOut("its group's projection_strength is 0", chosen=True)
        if parameter in weights:
            weight = weights[parameter]
            half = layers.left_out.get(parameter) if weight.dim is None else None
            return _reason_for_no_rank(weight, selection) or half
        if parameter in biases:
            return None
        if parameter in layers.by_weight:
            return LeftOut("watched, but no noise was observed: its layer did not run as a module")
        if parameter in layers.left_out:
            return layers.left_out[parameter]
        owner = owners.get(parameter)
        return LeftOut(_reason_by_owner(parameter, owner, of_covered=owner in with_weight))

    entries = []
    for i, parameter in enumerate(parameters):
        if parameter.requires_grad and not is_lazy(parameter):
            against = reason_against(parameter)
            entries.append(
                ParameterCoverage(
                    names.get(parameter, f"parameter {i} of the optimizer"),
                    parameter.numel(),
                    parameter.ndim,
                    against is None,
                    "" if against is None else against.reason,
                    against is not None and against.chosen,
                )
            )
    return Coverage(tuple(entries))


def _owners(model: nn.Module | None) -> dict[Tensor, nn.Module]:
    """Return the module that holds each parameter."""
    modules = [] if model is None else list(model.modules())
    return {p: module for module in modules for p in module.parameters(recurse=False)}


def _reason_for_no_rank(weight: ProtectedWeight, selection: Selection) -> LeftOut | None:
    """Return why an observed weight isn't projected, or None."""
    if weight.noise is None:
        return LeftOut("only signal was observed, no noise")
    size = feature_size(weight.noise)
    if selection.largest_rank(size) > 0:
        return None
    return LeftOut(
        f"rank 0: max_fraction={selection.max_fraction} of {size} features rounds down to none, "
        "as all of them would be frozen; leave it out with exclude=, and keep noise out of its "
        "input by clear()",
        chosen=selection.max_fraction == 0 or selection.rank == 0,
    )


def _reason_by_owner(parameter: Tensor, owner: nn.Module | None, *, of_covered: bool) -> str:
    """Return why a parameter that isn't the weight of a covered layer is not protected."""
    if owner is None:
        return "no parameter of the projector's model: use protect()"
    if of_covered:
        return "a bias of a covered layer: use bias=True, or freeze it"
    name = type(owner).__name__
    if parameter.ndim < MATRIX:
        return f"a vector of {name} (scale, shift or bias), which is multiplied with no features"
    return f"{name} is not a kind of layer that is covered: use protect()"
