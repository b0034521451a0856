"""Feature level: the drift of a layer's features between two checkpoints or epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gradreg.buffers import unchanged_buffers


@dataclass(frozen=True)
class LayerDrift:
    """The distance of one layer's features from the reference.

    Args:
        cka: linear centred kernel alignment, 0..1; 1 if the features are the same up to a
            rotation, a common scale and an offset; None if one of the two doesn't vary over the
            probes.
        angles: principal angles between the leading principal subspaces, ascending, radians in
            0..π/2; as many as the reference's components (the other's, if those are fewer).
    """

    cka: float | None
    angles: tuple[float, ...]

    @property
    def largest_angle(self) -> float | None:
        """The last of the angles."""
        return self.angles[-1] if self.angles else None


class RepresentationDrift:
    r"""A comparison of a model's features on fixed probes with those of a reference.

    With X, Y (probes × features) the centred features of reference and present model, linear CKA is

    .. math::
        \frac{\|X^T Y\|_F^2}{\|X^T X\|_F \, \|Y^T Y\|_F}

    and the angles are those between span(U) and span(V), with U and V the leading left singular
    vectors of X and Y. These are directions over the probes, so that layers of different widths
    can be compared, and a rotation of the features changes neither measure. The reference is the
    model at construction.

    A pass over the probes is made in eval mode and changes no gradient, statistic, random state or
    mode. With a one-pass smoother in the chain, measure inside `with opt.unperturbed():`.

    Args:
        model: the model.
        probes: its input, samples first, or a tuple of inputs.
        layers: names of the layers, as in `named_modules()`; None means every layer that has
            parameters and no layers inside. Their output is flattened for each sample.
        energy: share of the reference's variance that its leading components hold.

    Raises:
        ValueError: energy outside (0, 1], fewer than two probes, or a name that isn't a layer's.
        RuntimeError: a layer that doesn't run, or whose output hasn't one or more rows per probe.

    Example:
        >>> import torch
        >>> from gradreg.diagnostics import RepresentationDrift
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4))
        >>> drift = RepresentationDrift(model, torch.randn(16, 3))
        >>> round(drift.measure()["0"].cka, 6)
        1.0
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.randn(4, 3))
        >>> drift.measure()["0"].cka < 1
        True

    References:
        S. Kornblith, M. Norouzi, H. Lee, G. Hinton, Similarity of Neural Network Representations
        Revisited, 2019; Å. Björck, G. H. Golub, Numerical Methods for Computing Angles Between
        Linear Subspaces, 1973.
    """

    def __init__(
        self,
        model: nn.Module,
        probes: Tensor | tuple[Any, ...],
        layers: Sequence[str] | None = None,
        *,
        energy: float = 0.9,
    ) -> None:
        if not 0 < energy <= 1:
            raise ValueError(f"expected 0 < energy <= 1, found {energy}")
        self.model, self.energy = model, energy
        self.probes = probes if isinstance(probes, tuple) else (probes,)
        self._count = next((len(x) for x in self.probes if isinstance(x, Tensor) and x.ndim), 0)
        if self._count < 2:
            raise ValueError(f"expected two probes at least, found {self._count}")
        self.layers = list(_leaves(model) if layers is None else layers)
        self.mark()

    def mark(self) -> None:
        """Make the present model the reference."""
        self._reference = self._features(self.model)

    def measure(self, model: nn.Module | None = None) -> dict[str, LayerDrift]:
        """Compare a model, by default the reference's in its present state."""
        present = self._features(self.model if model is None else model)
        return {
            name: _compare(self._reference[name], present[name], self.energy)
            for name in self.layers
        }

    def _features(self, model: nn.Module) -> dict[str, Tensor]:
        """Return each layer's features, (probes, d), centred, in float64."""
        model = getattr(model, "_orig_mod", model)  # a compiled model's hooks don't run
        modules = dict(model.named_modules())
        unknown = [name for name in self.layers if name not in modules]
        if unknown or not self.layers:
            raise ValueError(
                f"expected layers among {', '.join(_leaves(model))}; found "
                f"{', '.join(map(repr, unknown)) or 'none'}"
            )
        seen: dict[str, list[Tensor]] = {}

        def record(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
            output = output[0] if isinstance(output, (tuple, list)) else output
            if not isinstance(output, Tensor) or not output.ndim or len(output) % self._count:
                shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise RuntimeError(
                    f"layer {name!r} gives {shape}, expected samples first, {self._count} or a "
                    "multiple: name other layers"
                )
            # A layer that is called twice has features from both calls.
            seen.setdefault(name, []).append(output.detach().reshape(self._count, -1).double())

        handles = [modules[n].register_forward_hook(partial(record, n)) for n in self.layers]
        devices = {str(p.device) for p in model.parameters() if p.device.type == "cuda"}
        try:
            with (
                torch.no_grad(),
                torch.random.fork_rng(list(devices)),
                unchanged_buffers(model),
                _evaluating(model),
            ):
                model(*self.probes)
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self.layers if name not in seen]
        if missing:
            raise RuntimeError(f"{', '.join(missing)} didn't run: name other layers")
        joined = {name: torch.cat(parts, 1) for name, parts in seen.items()}
        return {name: x - x.mean(0) for name, x in joined.items()}


def _compare(reference: Tensor, present: Tensor, energy: float) -> LayerDrift:
    grams = [x @ x.mT for x in (reference, present.to(reference.device))]
    norms = [gram.norm() for gram in grams]
    cka = ((grams[0] * grams[1]).sum() / (norms[0] * norms[1])).item() if all(norms) else None
    bases = _principal(grams[0], energy, None)
    others = _principal(grams[1], 1.0, bases.shape[1])
    count = min(bases.shape[1], others.shape[1])
    if count == 0:
        return LayerDrift(cka, ())
    cosines = torch.linalg.svdvals(bases.mT @ others)[:count]
    smaller, larger = sorted((bases, others), key=lambda basis: basis.shape[1])
    # The arc cosine alone can't distinguish angles under 1e-8 from zero.
    sines = torch.linalg.svdvals(smaller - larger @ (larger.mT @ smaller)).flip(0)
    return LayerDrift(cka, tuple(torch.atan2(sines, cosines).tolist()))


def _principal(gram: Tensor, energy: float, rank: int | None) -> Tensor:
    """Return the leading eigenvectors that hold the share of energy, at most `rank`."""
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0), vectors.flip(1)
    floor = len(values) * torch.finfo(values.dtype).eps * values[0]
    nonzero = int((values > floor).sum())
    needed = 1 + int((values.cumsum(0) < (energy - 1e-12) * values.sum()).sum())
    return vectors[:, : min(needed, nonzero, len(values) if rank is None else rank)]


def _leaves(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in getattr(model, "_orig_mod", model).named_modules()
        if next(module.children(), None) is None
        and next(module.parameters(recurse=False), None) is not None
    ]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
