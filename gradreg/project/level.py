"""The null-space projector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradreg.distributed import has_several_processes
from gradreg.project.check_options import check_at_least, check_shares
from gradreg.project.coverage import Coverage, coverage_of
from gradreg.project.covered_weight import CoveredWeight
from gradreg.project.layers import CoveredLayers
from gradreg.project.observation import observed_features
from gradreg.project.observed_weights import ObservedWeights
from gradreg.project.one_time_warnings import OneTimeWarnings
from gradreg.project.refresh import RefreshSchedule, refresh_bases
from gradreg.project.selection import Selection, Summary
from gradreg.project.subspace import as_columns
from gradreg.project.tokens import TokenCounts
from gradreg.project.update import (
    PendingChange,
    clear_response,
    copy_weights,
    project_change,
    without_autocast,
)
from gradreg.project.weight import Kind
from gradreg.wrapper import OptimizerWrapper


class NullSpaceProjector(OptimizerWrapper):
    r"""A wrapper that keeps weight changes orthogonal to the layer's noise features.

    For a layer W with inputs x, let the columns of U be an orthonormal basis of the subspace that
    its *noise* features span. After the base optimizer's step, of whatever kind,

    .. math::
        \Delta W \leftarrow \Delta W - s \,(\Delta W\, U - A)\, U^H, \qquad s = strength

    The method:

    1. Observe: inside `observe_noise` the second moment of each layer's input features is summed.
    2. Select: U holds the leading eigenvectors of that moment, by an energy threshold or a fixed
       rank. With `observe_signal` as well, only directions are used in which noise dominates
       signal (see `gradreg.project.subspace.contrastive_basis`).
    3. Project: before the base optimizer's step the weights are copied; after it ΔW is projected.

    Until something is observed nothing is projected.

    Mode `freeze`: A = 0, so with s = 1 the layer's response W x to noise doesn't change. Mode
    `release`: the response may only shrink. Each output unit's response to the noise subspace, the
    row :math:`r = (W U)_i`, may in one step become c·r with 0 ≤ c ≤ 1 and nothing else. A is the
    row's change to the nearest such point. So for every noise vector no unit responds more
    strongly than before, nor with the opposite sign. Nor does it to a signal in the same subspace:
    a layer whose noise spans the signal can only lose it. Whether it does is known only where the
    signal is observed as well, so the projector warns, once, if `release` projects a layer without
    that.

    Layers are `Linear`, `Conv1d/2d/3d`, `ConvTranspose1d/2d/3d`, `MultiheadAttention` (all of its
    projections), `Embedding` (the rows of noise's tokens are kept) and transformers' `Conv1D`.
    Subclasses with a forward of their own are not covered, as their features aren't known. Other
    parameters are added with `protect`. `coverage` reports what is protected, what not and why, and
    the projector warns, once, if more than a tenth of the trained weights isn't and wasn't left
    out. Layers that join the optimizer later, or are unfrozen, are watched from the next
    observation on.

    What lets noise through: biases without `bias=True`; the affine parameters of LayerNorm and
    BatchNorm, which move every feature behind them, so freeze them where that matters; and what
    `energy` and `max_fraction` leave out.

    Parameters of 16 bits are projected in float32 and rounded. The rounding errors of many steps
    add up, so keep the weights in float32 (with autocast) where that matters. A param group's own
    `"projection_strength"` entry replaces `strength` for its parameters (0 switches it off).

    A schedule-free base optimizer trains on other weights than it evaluates. Its `eval()` and
    `train()`, called on a wrapper, keep the response to noise as well, in both modes at the full
    strength. What changes weights elsewhere, such as the base optimizer's own `eval()`, is not
    projected.

    Under `torch.distributed` the observations of all processes are summed, and all use the bases
    of the first: every process must then observe and protect in the same order. `fully_shard` the
    model before building the projector.

    Memory: a copy of the protected weights during the step. For each of them the moments, 8·d²
    bytes a group for noise and as much for signal (twice that while observing), or above
    `max_size` sketches of 16·`sketch_size`·d bytes. The bases, 8·d·r, and a copy of them in the
    weight's precision.

    Args:
        optimizer: the optimizer to wrap.
        model: the model with the layers; None if only `protect` is used.
        energy: share of the noise's energy that the basis must hold.
        rank: a fixed rank in place of `energy`; numerically empty directions are left out.
        max_fraction: largest rank, as a fraction of the feature's size d (rounded down).
        dominance: with signal observed, the smallest share of noise in a protected direction.
        strength: s, from 0 (no projection) to 1.
        bias: count each layer's bias as the weight of one more feature that is always 1. Then
            the whole response W x + b is kept, not W x alone. The weight's group sets s.
        include: name patterns, as in `"encoder.*"`, of the layers to project; None means all.
        exclude: name patterns of the layers to leave out.
        refresh_every: smallest number of steps between two eigen-decompositions.
        forgetting: factor on earlier moments at each new observation; 1 keeps all.
        mode: `"freeze"` or `"release"`.
        max_size: largest feature size d whose second moment is kept exactly.
        sketch_size: rows of the sketch (see `gradreg.project.sketch.Sketch`) that is kept for
            larger d; the basis has a lower rank than that.
        equal_energy: give each observation (a context, or a call of `protect`) the energy 1,
            however many and large its features are. So a kind of noise that is much quieter than
            another is protected, too. `dominance` then compares shares of the energies.

    Raises:
        ValueError: a number out of range, a pattern without a match, a layer whose weight is
            computed from others (parametrized, or by a hook); with `bias`, a transposed
            convolution, or layers that share a weight but not the bias.

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
        max_size: int = 1024,
        sketch_size: int = 256,
        equal_energy: bool = False,
    ) -> None:
        super().__init__(optimizer)
        check_shares(strength=strength, forgetting=forgetting)
        check_at_least(0, max_size=max_size)
        check_at_least(1, refresh_every=refresh_every)
        check_at_least(2, sketch_size=sketch_size)
        if mode not in ("freeze", "release"):
            raise ValueError(f"expected mode 'freeze' or 'release', found {mode!r}")
        self.model = getattr(model, "_orig_mod", model)  # a compiled model's hooks don't run
        self.selection = Selection(energy, rank, max_fraction, dominance)
        self.strength, self.bias = strength, bias
        self.refresh_every, self.forgetting, self.mode = refresh_every, forgetting, mode
        self.max_size, self.sketch_size = max_size, sketch_size
        self.equal_energy = equal_energy
        self._layers = CoveredLayers(self.model, self.parameters, include, exclude, bias=bias)
        self._weights = ObservedWeights(self._layers)
        self._schedule = RefreshSchedule()
        self._warnings = OneTimeWarnings(len(self.parameters))
        self._pending: list[PendingChange] = []

    # ---- Observe --------------------------------------------------------------------------------

    def observe_noise(self, mask: Tensor | None = None, batch_dim: int | None = None) -> Any:
        """Return a context in which the layers' inputs are observed as noise.

        Run the eager model inside. The pass changes no gradient, buffer or random state. If it
        raises, nothing is learnt from it.

        Args:
            mask: which batch entries are noise, (batch,), boolean or weights. If a layer's first
                dimension is a multiple of that, each entry's rows must be consecutive.
            batch_dim: where the batch is in three-dimensional inputs of linear layers and in
                inputs of embeddings: 1 for sequence first, (time, batch, features). Attention and
                convolutions know it. None is 0, with an error where it looks like 1.

        Raises:
            RuntimeError: the optimizer trains no covered layer; on exit, if none ran.
            ValueError: a mask that doesn't fit.
        """
        return self._observe("noise", mask, batch_dim)

    def observe_signal(self, mask: Tensor | None = None, batch_dim: int | None = None) -> Any:
        """Return a context in which the layers' inputs are observed as signal.

        It works like `observe_noise`. Afterwards only directions are protected in which noise
        dominates signal.
        """
        return self._observe("signal", mask, batch_dim)

    @contextmanager
    def _observe(self, kind: Kind, mask: Tensor | None, batch_dim: int | None) -> Iterator[None]:
        self._follow_parameters()
        with observed_features(
            kind,
            self._layers,
            self._new_summary_of_layer,
            mask,
            batch_dim=batch_dim,
            skipped=self._weights.protected_by_hand(),
            model=self.model,
            parameters=self.parameters,
        ) as seen:
            yield
        for parameter, summary in seen.items():
            self._learn(parameter, kind, summary, dim=None)

    def _follow_parameters(self) -> None:
        """Watch layers that have become trainable, with the biases that are trained now."""
        self._layers.follow(self.parameters)
        self._weights.forget_other_biases()
        self._warnings.follow(len(self.parameters))

    @torch.no_grad()
    def protect(self, parameter: Tensor, features: Tensor, dim: int = -1) -> None:
        """Add noise features of a parameter that isn't a layer's weight, such as an embedding's.

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
        self._weights.forget_layer_left_to_protect(parameter)
        summary = self._new_summary(parameter, 1, features.shape[1])
        summary.add(features[None, :, None, :])
        if has_several_processes():
            summary.sum_over_processes()
        self._learn(parameter, "noise", summary, dim % parameter.ndim)

    def _learn(self, parameter: Tensor, kind: Kind, summary: Summary, dim: int | None) -> None:
        if self.equal_energy:
            summary.normalise()
        self._weights.learn(parameter, kind, summary, dim, self.forgetting)
        self._schedule.stale = True

    def _new_summary_of_layer(self, covered: CoveredWeight) -> Summary:
        groups, size = self._layers.feature_shape(covered)
        if covered.is_token_table:
            return TokenCounts(size, covered.weight.device)
        return self._new_summary(covered.weight, groups, size)

    def _new_summary(self, parameter: Tensor, groups: int, size: int) -> Summary:
        sketch_size = self.sketch_size if size > self.max_size else None
        return self._weights.new_summary(parameter, groups, size, sketch_size)

    # ---- Select ---------------------------------------------------------------------------------

    def basis(self, parameter: Tensor) -> Tensor:
        """Return the U that the next step will use, (groups, d, r).

        Its columns are orthonormal, padded with zero columns where groups differ in rank. Rank 0
        means that nothing is projected. An embedding's are one-hot, a column for each token.
        Attention's packed input projection has three groups, for queries, keys and values, unless
        these are the same.

        Raises:
            KeyError: nothing was observed for this parameter.
        """
        if parameter not in self._weights:
            raise KeyError(
                f"nothing was observed for this parameter of shape {tuple(parameter.shape)}: run "
                "its layer inside observe_noise(), or use protect()"
            )
        weight = self._weights[parameter]
        due = self._schedule.is_due(self.refresh_every)
        basis = weight.compute_basis(self.selection) if due else weight.basis
        return as_columns(basis, parameter.shape[0])

    def coverage(self) -> Coverage:
        """Return which of the trained parameters are protected, and why the others are not.

        A parameter is covered once noise was observed for it. `print` shows a table.
        """
        self._layers.follow(self.parameters)
        return coverage_of(
            self.parameters,
            self._strengths(),
            self._weights,
            model=self.model,
            layers=self._layers,
            selection=self.selection,
        )

    def _refresh(self) -> None:
        """Compute new bases if there are new observations and enough steps were made."""
        if self._schedule.is_due(self.refresh_every):
            weights = [self._weights[p] for p in self.parameters if p in self._weights]
            refresh_bases(weights, self.selection)
            self._schedule.restart()

    # ---- Project --------------------------------------------------------------------------------

    def before_update(self) -> None:
        """Refresh the bases if necessary, and copy the weights that have one."""
        self._refresh()
        self._schedule.count_step()
        strengths = self._strengths()
        if not self._weights:
            by_choice = self.selection.max_fraction == 0 or not any(strengths.values())
            self._warnings.count_idle_step(idle_by_choice=by_choice)
            return
        self._weights.check_unchanged(self.parameters)
        self._warnings.follow(len(self.parameters))
        if self.model is not None:  # else the caller chose what to protect
            self._warnings.check_coverage(self.coverage)
        self._pending = copy_weights(self._weights, strengths)
        if self.mode == "release":
            self._warnings.check_signal(self._pending, self._weights, self._layers)
        if self._pending and any(group.get("differentiable") for group in self.param_groups):
            raise RuntimeError(
                "NullSpaceProjector expects an optimizer without differentiable=True, found "
                f"{type(self.base).__name__} with it: the projection is outside of the graph, so "
                "that the step's derivative would be wrong"
            )

    def after_update(self) -> None:
        """Project the change that the base optimizer made."""
        with without_autocast(pending.before[0] for pending in self._pending):
            for pending in self._pending:
                project_change(pending, self.mode)

    def end_step(self) -> None:
        """Free the copies."""
        self._pending = []

    def eval(self) -> None:
        """Let the base optimizer put the weights to evaluate into the model; noise is kept."""
        self._exchange_weights(super().eval)

    def train(self) -> None:
        """Let the base optimizer put the weights to train on into the model; noise is kept."""
        self._exchange_weights(super().train)

    @torch.no_grad()
    def _exchange_weights(self, exchange: Callable[[], None]) -> None:
        """Keep the response to noise while a schedule-free base optimizer exchanges the weights.

        Its two sets of weights differ along noise, since only one of them is projected in a step.
        """
        if not hasattr(self.base, "eval"):
            exchange()
            return
        with self.unperturbed():
            self._refresh()
            whole = {p: 1.0 for p, strength in self._strengths().items() if strength > 0}
            pending = copy_weights(self._weights, whole)
        exchange()
        with self.unperturbed(), without_autocast(self._weights):
            for change in pending:
                project_change(change, "freeze")

    @torch.no_grad()
    def clear(self) -> None:
        """Remove the present response to noise once: W ← W - W U Uᴴ.

        Parameters whose strength is 0 are not changed. Call it on the outermost wrapper, so that
        it acts on the clean weights of a `OnePassSmoother` anywhere in the chain.
        """
        with self.unperturbed(), without_autocast(self._weights):
            self._refresh()
            strengths = self._strengths()
            for parameter, weight in self._weights.items():
                if strengths.get(parameter, 0.0) != 0:
                    clear_response(weight, weight.with_bias(parameter))

    def _strengths(self) -> dict[Tensor, float]:
        """Return the strength for each parameter; a group may have its own."""
        strengths: dict[Tensor, float] = {}
        for group in self.param_groups:
            strength = group.get("projection_strength", self.strength)
            if not 0 <= strength <= 1:
                raise ValueError(
                    f"expected 0 <= projection_strength <= 1 in a param group, found {strength}"
                )
            strengths.update(dict.fromkeys(group["params"], strength))
        return strengths

    # ---- State ----------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return summaries and bases by the parameter's index."""
        return {
            **self._schedule.state_dict(),
            "sites": self._weights.state_dict(self.parameters),
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore summaries and bases."""
        self._layers.follow(self.parameters)
        self._schedule.load_state_dict(state)
        self._weights.load_state_dict(state["sites"], self.parameters)
