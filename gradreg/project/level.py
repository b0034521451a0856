"""Feature level: weight updates stay out of the subspace that noise features span."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from gradreg import distributed
from gradreg.project.observation import stretched, watched_inputs
from gradreg.project.sketch import Sketch
from gradreg.project.subspace import Moment
from gradreg.project.unfold import TRANSPOSED, choose_layers, feature_chunks, feature_shape
from gradreg.project.update import PendingChange, clear_response, project_change, project_moments
from gradreg.project.weight import ProtectedWeight, Selection, Summary
from gradreg.sharding import is_sharded, local
from gradreg.wrapper import OptimizerWrapper

IDLE_STEPS = 100
"""After so many steps without an observation the projector says that it does nothing."""


class NullSpaceProjector(OptimizerWrapper):
    r"""Keep each layer's weight change in the orthogonal complement of its noise features.

    For a layer W with inputs x, let the columns of U be an orthonormal basis of the subspace that
    its *noise* features span. After the base optimizer's step, whatever that was,

    .. math::
        \Delta W \leftarrow \Delta W - s \,(\Delta W\, U - A)\, U^H, \qquad s = strength

    Mode `freeze`: A = 0, so with s = 1 the layer's response W x to noise stays what it is. Mode
    `release`: the response may only shrink. Precisely, each output unit's response to the noise
    subspace, the row :math:`r = (W U)_i`, may in one step become c·r with 0 ≤ c ≤ 1 and nothing
    else: A is the row's change to the nearest such point, so for every noise vector no unit
    responds more strongly than before, nor with the other sign.

    U comes from the second moment of the features seen inside `observe_noise`, by an energy
    threshold or a fixed rank; with `observe_signal` as well, only from directions where noise
    dominates signal (see `gradreg.project.subspace.contrastive_basis`). Until something is observed
    nothing is projected.

    Layers are `Linear`, `Conv1d/2d/3d` and `ConvTranspose1d/2d/3d`. Other parameters are covered
    by `protect`, for instance an `Embedding`'s weight, or `MultiheadAttention`'s:
    `opt.protect(attention.in_proj_weight, inputs.flatten(0, -2))`.

    Parameters of 16 bits are projected in float32 and rounded; the roundings of many steps add
    up, so keep the weights in float32 (with autocast) where that matters. A param group's own
    `"projection_strength"` entry replaces `strength` for its parameters (0 switches off).

    Under `torch.distributed` what the ranks observe is put together, and rank 0's bases are used
    by all: every rank must then observe and protect in the same order. `fully_shard` the model
    before building the projector.

    Memory: a copy of the protected weights during the step; for each of them the moments, 8·d²
    bytes a group for noise and as much for signal (twice that while observing), or above
    `max_size` sketches of 16·`sketch_size`·d bytes; the bases, 8·d·r and a copy in the weight's
    precision.

    Args:
        optimizer: the optimizer to wrap.
        model: where the layers are; None if `protect` alone is used.
        energy: share of the noise's energy that the basis must hold.
        rank: a fixed rank in place of `energy`; numerically empty directions are left out.
        max_fraction: largest rank, as a fraction of the feature's size d (rounded down).
        dominance: with signal observed, the least share of noise in a protected direction.
        strength: s, from 0 (no projection) to 1.
        bias: count each layer's bias as the weight of one more feature that is always 1. Then
            the whole response W x + b is kept, not W x alone. The weight's group sets s.
        include: name patterns, as in `"encoder.*"`, of the layers to project; None means all.
        exclude: name patterns of the layers to leave alone.
        refresh_every: least number of steps between two eigen-decompositions.
        forgetting: factor on earlier moments at each new observation; 1 keeps all.
        mode: `"freeze"` or `"release"`.
        max_size: largest feature size d whose second moment is kept exactly.
        sketch_size: rows of the sketch (see `gradreg.project.sketch.Sketch`) that takes its place
            beyond; the basis has a lower rank than that.
        moments: after each step, take the share s of the noise subspace out of the base
            optimizer's first moments as well (`FIRST_MOMENTS`), where there are any.

    Raises:
        ValueError: a number out of range, a pattern without a match, a parametrized layer; with
            `bias`, a transposed convolution, or layers that share a weight but not the bias.

    Example:
        >>> import gradreg, torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> opt = gradreg.NullSpaceProjector(torch.optim.Adam(model.parameters(), lr=0.1), model)
        >>> noise = torch.tensor([[1.0, 0.0, 0.0]])
        >>> with opt.observe_noise():
        ...     before = model(noise)
        >>> model(torch.ones(1, 3)).sum().backward()
        >>> opt.step()
        >>> torch.allclose(model(noise), before)
        True

    References:
        S. Wang, X. Li, J. Sun, Z. Xu, Training Networks in Null Space of Feature Covariance for
        Continual Learning, 2021.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module | None,
        *,
        energy: float = 0.95,
        rank: int | None = None,
        max_fraction: float = 0.5,
        dominance: float = 0.5,
        strength: float = 1.0,
        bias: bool = False,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        refresh_every: int = 1,
        forgetting: float = 1.0,
        mode: Literal["freeze", "release"] = "freeze",
        max_size: int = 4096,
        sketch_size: int = 256,
        moments: bool = False,
    ) -> None:
        super().__init__(optimizer)
        shares = {
            "energy": energy,
            "max_fraction": max_fraction,
            "dominance": dominance,
            "strength": strength,
            "forgetting": forgetting,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"expected 0 <= {name} <= 1, found {value}")
        least = {"rank": 0, "refresh_every": 1, "max_size": 0, "sketch_size": 2}
        numbers = (0 if rank is None else rank, refresh_every, max_size, sketch_size)
        for (name, lowest), number in zip(least.items(), numbers, strict=True):
            if number < lowest:
                raise ValueError(f"expected {name} >= {lowest}, found {number}")
        if mode not in ("freeze", "release"):
            raise ValueError(f"expected mode 'freeze' or 'release', found {mode!r}")
        self.model = getattr(model, "_orig_mod", model)  # a compiled model's hooks don't run
        self.selection = Selection(energy, rank, max_fraction, dominance)
        self.strength, self.bias, self.moments = strength, bias, moments
        self.refresh_every, self.forgetting, self.mode = refresh_every, forgetting, mode
        self.max_size, self.sketch_size = max_size, sketch_size
        held = self.parameters
        self._layers = (
            {} if self.model is None else choose_layers(self.model, held, include, exclude)
        )
        self._weights: dict[nn.Module, Tensor] = {
            module: cast(Tensor, module.weight) for module in self._layers.values()
        }
        self._biases = _trained_biases(self._layers, set(held)) if bias else {}
        self._names = {self._weights[m]: name for name, m in self._layers.items()}
        self._sites: dict[Tensor, ProtectedWeight] = {}
        self._since_refresh: int | None = None  # None: never yet
        self._stale = False
        self._idle = 0
        self._pending: list[PendingChange] = []

    # ---- The projection -------------------------------------------------------------------------

    def before_update(self) -> None:
        """Bring the bases up to date and copy the weights that have one."""
        self._refresh()
        if self._since_refresh is not None:
            self._since_refresh += 1
        strengths = self._strengths()
        if not self._sites:
            self._count_idle(strengths)
            return
        self._check_weights()
        for parameter, site in self._sites.items():
            strength = strengths.get(parameter, 0.0)  # its group may have been taken away
            if site.basis.shape[-1] and strength > 0:
                tensors = [parameter] if site.bias is None else [parameter, site.bias]
                before = [local(t.detach()).clone() for t in tensors]
                self._pending.append(PendingChange(site, tensors, before, strength))
        if self._pending and any(group.get("differentiable") for group in self.param_groups):
            raise RuntimeError(
                "NullSpaceProjector expects an optimizer without differentiable=True, found "
                f"{type(self.base).__name__} with it: the projection is outside of the graph, so "
                "that the step's derivative would be wrong"
            )

    def after_update(self) -> None:
        """Project the change that the base optimizer made, and its first moments if asked."""
        with ExitStack() as stack:
            for kind in {pending.before[0].device.type for pending in self._pending}:
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            for pending in self._pending:
                project_change(pending, self.mode)
                if self.moments:
                    project_moments(pending, self.state)

    def end_step(self) -> None:
        """Let go of the copies."""
        self._pending = []

    @torch.no_grad()
    def clear(self) -> None:
        """Remove the present response to noise once: W ← W - W U Uᴴ.

        Parameters whose strength is 0 are left alone. Call it on the outermost wrapper, so that a
        `OnePassSmoother` anywhere in the chain puts its perturbation aside.
        """
        with self.unperturbed():
            self._clear()

    def _clear(self) -> None:
        self._refresh()
        strengths = self._strengths()
        for parameter, site in self._sites.items():
            if strengths.get(parameter, 0.0) == 0:
                continue
            tensors = [parameter] if site.bias is None else [parameter, site.bias]
            clear_response(site, tensors)

    # ---- The bases ------------------------------------------------------------------------------

    def basis(self, parameter: Tensor) -> Tensor:
        """Return the U that the next step will use, (groups, d, r).

        Its columns are orthonormal, padded with zero columns where groups differ in rank. Rank 0
        means that nothing is projected.

        Raises:
            KeyError: nothing was observed for this parameter.
        """
        if parameter not in self._sites:
            raise KeyError(
                f"nothing was observed for this parameter of shape {tuple(parameter.shape)}: run "
                "its layer inside observe_noise(), or use protect()"
            )
        site = self._sites[parameter]
        return site.draw(self.selection) if self._due() else site.basis

    def _due(self) -> bool:
        return self._stale and (
            self._since_refresh is None or self._since_refresh >= self.refresh_every
        )

    def _refresh(self) -> None:
        """Draw new bases if they are due."""
        if self._due():
            sites = [self._sites[p] for p in self.parameters if p in self._sites]

            def draw() -> list[Tensor]:
                return [site.draw(self.selection) for site in sites]

            if distributed.several():
                bases = distributed.drawn_once(draw, [site.basis for site in sites])
            else:
                bases = draw()
            for site, basis in zip(sites, bases, strict=True):
                site.basis = basis
            self._stale, self._since_refresh = False, 0

    def _strengths(self) -> dict[Tensor, float]:
        """Return the strength of each parameter; a group may have its own."""
        strengths: dict[Tensor, float] = {}
        for group in self.param_groups:
            strength = group.get("projection_strength", self.strength)
            if not 0 <= strength <= 1:
                raise ValueError(
                    f"expected 0 <= projection_strength <= 1 in a param group, found {strength}"
                )
            strengths.update(dict.fromkeys(group["params"], strength))
        return strengths

    def _check_weights(self) -> None:
        """Refuse weights that are no longer those observed."""
        for module, weight in self._weights.items():
            site = self._sites.get(weight)
            if site is None or is_sharded(weight):
                continue
            if module.weight is not weight:
                raise RuntimeError(
                    f"the weight of layer {self._names[weight]!r} was replaced since the projector "
                    "was built: change it in place, or build optimizer and projector anew"
                )
            if site.bias is not None and site.bias.requires_grad != weight.requires_grad:
                raise RuntimeError(
                    f"layer {self._names[weight]!r} has either its weight or its bias frozen since "
                    "it was observed with bias=True: freeze both, or build the projector afterwards"
                )
        for weight, site in self._sites.items():
            if site.shape is not None and weight.shape != site.shape:
                raise RuntimeError(
                    f"the weight of {self._names.get(weight, 'a protected parameter')!r} has shape "
                    f"{tuple(weight.shape)}, and had {tuple(site.shape)} when it was observed: "
                    "build optimizer and projector anew"
                )

    def _count_idle(self, strengths: Mapping[Tensor, float]) -> None:
        """Say once that nothing is projected."""
        # Distributed checkpointing steps once with a learning rate of 0 to create state.
        if all(group.get("lr") == 0 for group in self.param_groups if "lr" in group):
            return
        self._idle += 1
        idle = self._idle == IDLE_STEPS and self.selection.max_fraction > 0
        if idle and any(strengths.values()):
            warnings.warn(
                f"NullSpaceProjector has made {IDLE_STEPS} steps and projected nothing, for no "
                "noise was observed: run the model inside `with opt.observe_noise():`, or call "
                "opt.protect(...)",
                stacklevel=2,
            )

    # ---- Observation ----------------------------------------------------------------------------

    def observe_noise(self, mask: Tensor | None = None) -> Any:
        """Take what the layers see inside this context for noise.

        Run the eager model inside; the pass leaves no gradient, running statistic or random state
        behind. If it raises, nothing is learnt from it.

        Args:
            mask: which batch entries are noise, (batch,), boolean or weights. A layer whose first
                dimension is a multiple of that is taken to have each entry's rows in succession.

        Raises:
            RuntimeError: on leaving, if no layer ran.
        """
        return self._observe("noise", mask)

    def observe_signal(self, mask: Tensor | None = None) -> Any:
        """Take what the layers see inside this context for signal; otherwise as `observe_noise`.

        From then on only directions where noise dominates signal are protected.
        """
        return self._observe("signal", mask)

    @contextmanager
    def _observe(self, kind: Literal["noise", "signal"], mask: Tensor | None) -> Iterator[None]:
        seen: dict[Tensor, Summary] = {}

        def look(module: nn.Module, x: Tensor) -> None:
            weight = self._weights[module]
            if is_lazy(weight):
                raise RuntimeError(
                    f"the layer {self._names[weight]!r} has no weight yet: run the lazy model once "
                    "before observing"
                )
            if module.weight is not weight and not is_sharded(weight):
                raise RuntimeError(
                    f"the weight of layer {self._names[weight]!r} was replaced since the projector "
                    "was built: change it in place, or build optimizer and projector anew"
                )
            if weight not in seen:
                seen[weight] = self._summary(module)
            bias = self._biases.get(weight)
            for features in feature_chunks(module, x):
                if bias is not None:
                    constant = 0.0 if module.bias is None else 1.0  # None: a twin has the bias
                    rows = nn.functional.pad(features, (0, 1), value=constant)
                else:
                    rows = features
                seen[weight].add(rows, stretched(mask, rows))

        devices = {p.device for p in self.parameters}
        with watched_inputs(self._weights, look, model=self.model, devices=devices):
            yield
        if distributed.several():
            self._join(seen)
        if not seen:
            layers = ", ".join(self._layers) or "none"
            raise RuntimeError(
                f"observe_{kind}() expected a forward pass through the layers it watches "
                f"({layers}), found none: call the eager model (not a compiled or copied one) "
                "inside the context"
            )
        for weight, summary in seen.items():
            self._learn(weight, kind, summary, dim=None)

    def _join(self, seen: dict[Tensor, Summary]) -> None:
        """Put together what the ranks have seen, in an order that they share."""
        modules = {weight: module for module, weight in self._weights.items()}
        device = self.parameters[0].device
        anywhere = distributed.seen_anywhere([weight in seen for weight in modules], device)
        here = dict(seen)
        seen.clear()
        for (weight, module), somewhere in zip(modules.items(), anywhere, strict=True):
            if somewhere:
                seen[weight] = here.get(weight) or self._summary(module)
                distributed.join(seen[weight])

    @torch.no_grad()
    def protect(self, parameter: Tensor, features: Tensor, dim: int = -1) -> None:
        """Add noise features of a weight that isn't a layer's: a mixing matrix, an embedding.

        Args:
            parameter: one of the optimizer's parameters.
            features: (n, d), with d the parameter's size along `dim`.
            dim: the dimension over which the parameter is multiplied with features.

        Raises:
            ValueError: a parameter that the optimizer lacks, features that don't fit, or another
                `dim` than in an earlier call.
        """
        if not any(parameter is p for p in self.parameters):
            raise ValueError(
                f"the optimizer holds no such parameter, of shape {tuple(parameter.shape)}: "
                "add it with add_param_group first"
            )
        if features.ndim != 2 or features.shape[1] != parameter.shape[dim]:
            raise ValueError(
                f"expected features of shape (n, {parameter.shape[dim]}), the parameter's size "
                f"along dim {dim}; found {tuple(features.shape)}"
            )
        summary = self._new_summary(parameter, 1, features.shape[1])
        summary.add(features[None, :, None, :])
        if distributed.several():
            distributed.join(summary)
        self._learn(parameter, "noise", summary, dim % parameter.ndim)

    def _summary(self, module: nn.Module) -> Summary:
        groups, size = feature_shape(module)
        weight = self._weights[module]
        return self._new_summary(weight, groups, size + (self._biases.get(weight) is not None))

    def _new_summary(self, parameter: Tensor, groups: int, size: int) -> Summary:
        dtype = torch.complex128 if parameter.is_complex() else torch.float64
        site = self._sites.get(parameter)
        known = None if site is None else site.noise or site.signal
        if isinstance(known, Sketch) or (known is None and size > self.max_size):
            rows = self.sketch_size if known is None else known.length
            return Sketch(groups, size, parameter.device, rows, dtype)
        return Moment(groups, size, parameter.device, dtype)

    def _new_site(self, parameter: Tensor, dim: int | None, basis: Tensor) -> ProtectedWeight:
        bias = self._biases.get(parameter) if dim is None else None
        modules = [m for m, weight in self._weights.items() if weight is parameter]
        transposed = dim is None and isinstance(modules[0], TRANSPOSED)
        if parameter.dtype in (torch.bfloat16, torch.float16) and not any(
            p.dtype == parameter.dtype for p in self._sites
        ):
            warnings.warn(
                f"NullSpaceProjector protects a {parameter.dtype} parameter: its response to "
                "noise is kept up to that dtype's rounding in each step, which adds up over many; "
                "keep parameters in float32, with autocast, to have it kept",
                stacklevel=2,
            )
        site = ProtectedWeight(dim, basis, transposed, bias)
        site.shape = parameter.shape
        return site

    def _learn(
        self, parameter: Tensor, kind: Literal["noise", "signal"], summary: Summary, dim: int | None
    ) -> None:
        if parameter not in self._sites:
            dtype = torch.complex128 if parameter.is_complex() else torch.float64
            basis = torch.zeros(*summary.shape, 0, dtype=dtype, device=parameter.device)
            self._sites[parameter] = self._new_site(parameter, dim, basis)
        site = self._sites[parameter]
        if site.dim != dim:
            raise ValueError(
                f"this parameter of shape {tuple(parameter.shape)} is already observed "
                f"{'as a layer' if site.dim is None else f'along dim {site.dim}'}: found "
                f"{'a layer' if dim is None else f'dim {dim}'}"
            )
        site.learn(kind, summary, self.forgetting)
        self._stale = True

    # ---- State ----------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return summaries and bases by the parameter's index."""
        index = {parameter: str(i) for i, parameter in enumerate(self.parameters)}
        return {
            "since_refresh": self._since_refresh,
            "stale": self._stale,
            "sites": {index[p]: site.state_dict() for p, site in self._sites.items() if p in index},
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore summaries and bases."""
        parameters = self.parameters
        self._since_refresh, self._stale = state["since_refresh"], state["stale"]
        self._sites = {}
        for i, given in state["sites"].items():
            parameter, dim = parameters[int(i)], given["dim"]
            basis = given["basis"].to(parameter.device)
            self._sites[parameter] = self._new_site(parameter, dim, basis)
            self._sites[parameter].load_state_dict(given)


def _trained_biases(layers: Mapping[str, nn.Module], held: set[Tensor]) -> dict[Tensor, Tensor]:
    """Return the bias that belongs to each weight, where it is trained."""
    biases: dict[Tensor, Tensor] = {}
    for name, module in layers.items():
        weight, bias = cast(Tensor, module.weight), cast(Tensor | None, module.bias)
        if bias is None or bias not in held or not bias.requires_grad:
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
