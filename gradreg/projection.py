"""Feature level: weight updates stay out of the subspace that noise features span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer

from gradreg.features import choose_layers, feature_chunks
from gradreg.protected import ProtectedWeight
from gradreg.statistics import unchanged_statistics
from gradreg.subspace import Moment
from gradreg.wrapper import OptimizerWrapper


class NullSpaceProjector(OptimizerWrapper):
    r"""Keep each layer's weight change in the orthogonal complement of its noise features.

    For a layer W with inputs x, let the columns of U be an orthonormal basis of the subspace that
    its *noise* features span. After the base optimizer's step, whatever that was,

    .. math::
        \Delta W \leftarrow \Delta W - s \,(\Delta W\, U - A)\, U^T, \qquad s = strength

    Mode `freeze`: A = 0, so with s = 1 the layer's response W x to noise stays what it is. Mode
    `release`: the response may only shrink. Precisely, each output unit's response to the noise
    subspace, the row :math:`r = (W U)_i`, may in one step become c·r with 0 ≤ c ≤ 1 and nothing
    else: A is the row's change to the nearest such point, so for every noise vector no unit
    responds more strongly than before, nor with the other sign.

    U comes from the second moment of the features seen inside `observe_noise`, by an energy
    threshold; with `observe_signal` as well, only from directions where noise dominates signal
    (see `gradreg.subspace.contrastive_basis`). Until something is observed nothing is projected.

    Layers are `Linear` and `Conv1d/2d/3d`; other parameters are covered by `protect`.

    Args:
        optimizer: the optimizer to wrap.
        model: where the layers are; None if `protect` alone is used.
        energy: share of the noise's energy that the basis must hold.
        max_fraction: largest rank, as a fraction of the feature's size (rounded down).
        strength: s, from 0 (no projection) to 1.
        include: name patterns, as in `"encoder.*"`, of the layers to project; None means all.
        exclude: name patterns of the layers to leave alone.
        refresh_every: least number of steps between two eigen-decompositions.
        forgetting: factor on earlier moments at each new observation; 1 keeps all.
        mode: `"freeze"` or `"release"`.
        max_size: largest feature size; its moment takes 8·size² bytes a group.

    Raises:
        ValueError: a number out of range, a pattern without a match, a parametrized layer, or a
            layer whose features are larger than `max_size`.

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
        max_fraction: float = 0.5,
        strength: float = 1.0,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        refresh_every: int = 1,
        forgetting: float = 1.0,
        mode: Literal["freeze", "release"] = "freeze",
        max_size: int = 4096,
    ) -> None:
        super().__init__(optimizer)
        shares = {
            "energy": energy,
            "max_fraction": max_fraction,
            "strength": strength,
            "forgetting": forgetting,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"expected 0 <= {name} <= 1, found {value}")
        if refresh_every < 1:
            raise ValueError(f"expected refresh_every >= 1 step, found {refresh_every}")
        if mode not in ("freeze", "release"):
            raise ValueError(f"expected mode 'freeze' or 'release', found {mode!r}")
        self.model = getattr(model, "_orig_mod", model)  # a compiled model's hooks don't run
        self.energy, self.max_fraction, self.strength = energy, max_fraction, strength
        self.refresh_every, self.forgetting, self.mode = refresh_every, forgetting, mode
        self.max_size = max_size
        self._layers = (
            {}
            if self.model is None
            else choose_layers(self.model, self.parameters, include, exclude)
        )
        self._sites: dict[Tensor, ProtectedWeight] = {}
        self._since_refresh: int | None = None  # None: never yet
        self._stale = False
        self._before: list[tuple[Tensor, ProtectedWeight, Tensor]] = []

    # ---- The projection -------------------------------------------------------------------------

    def before_update(self) -> None:
        """Bring the bases up to date and copy the weights that have one."""
        if self._due():
            for site in self._sites.values():
                site.basis = site.draw(self.energy, self.max_fraction)
            self._stale, self._since_refresh = False, 0
        if self._since_refresh is not None:
            self._since_refresh += 1
        if self.strength > 0:
            self._before = [
                (parameter, site, parameter.detach().clone())
                for parameter, site in self._sites.items()
                if site.basis.shape[-1]
            ]

    def after_update(self) -> None:
        """Project the change that the base optimizer made."""
        for parameter, site, before in self._before:
            change, basis = site.matrix(parameter - before), site.basis
            response = change @ basis
            if self.mode == "release":
                response -= _shrinkage(site.matrix(before) @ basis, response)
            site.subtract(parameter, response @ basis.mT, self.strength)

    def end_step(self) -> None:
        """Let go of the copies."""
        self._before = []

    def _due(self) -> bool:
        return self._stale and (
            self._since_refresh is None or self._since_refresh >= self.refresh_every
        )

    def basis(self, parameter: Tensor) -> Tensor:
        """Return the U that the next step will use, (groups, d, r).

        Its columns are orthonormal, padded with zero columns where groups differ in rank. Rank 0
        means that nothing is projected.
        """
        if parameter not in self._sites:
            raise KeyError(
                f"nothing was observed for this parameter of shape {tuple(parameter.shape)}: run "
                "its layer inside observe_noise(), or use protect()"
            )
        site = self._sites[parameter]
        return site.draw(self.energy, self.max_fraction) if self._due() else site.basis

    @torch.no_grad()
    def clear(self) -> None:
        """Remove the present response to noise once: W ← W - W U Uᵀ."""
        for parameter, site in self._sites.items():
            matrix = site.matrix(parameter)
            basis = self.basis(parameter)
            site.subtract(parameter, matrix @ basis @ basis.mT, 1.0)

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
        seen: dict[Tensor, Moment] = {}

        watched = set(self._layers.values())

        def look(module: nn.Module, args: tuple[Any, ...]) -> None:
            if module not in watched:
                return
            if not args:
                raise TypeError(
                    f"observe_{kind}() expected a {type(module).__name__} to be called with its "
                    "input as positional argument, found a keyword argument: write layer(x)"
                )
            weight: Any = module.weight
            for features in feature_chunks(module, args[0].detach()):
                if weight not in seen:
                    seen[weight] = Moment(features.shape[2], features.shape[3], weight.device)
                seen[weight].add(features, _rows(mask, features))

        # A hook on no module in particular: a copy made meanwhile carries none away.
        handle = register_module_forward_pre_hook(look)
        devices = {p.device for p in self.parameters if p.device.type == "cuda"}
        try:
            with (
                torch.no_grad(),
                torch.random.fork_rng([str(device) for device in devices]),
                unchanged_statistics(self.model),
            ):
                yield
        finally:
            handle.remove()
        if not seen:
            layers = ", ".join(self._layers) or "none"
            raise RuntimeError(
                f"observe_{kind}() expected a forward pass through the layers it watches "
                f"({layers}), found none: call the eager model (not a compiled or copied one) "
                "inside the context"
            )
        for weight, moment in seen.items():
            self._learn(weight, kind, moment, dim=None)

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
        moment = Moment(1, features.shape[1], parameter.device)
        moment.add(features[None, :, None, :])
        self._learn(parameter, "noise", moment, dim % parameter.ndim)

    def _learn(
        self, parameter: Tensor, kind: Literal["noise", "signal"], moment: Moment, dim: int | None
    ) -> None:
        if parameter not in self._sites:
            groups, size, _ = moment.total.shape
            if size > self.max_size:
                raise ValueError(
                    f"a parameter of shape {tuple(parameter.shape)} has features of size {size}, "
                    f"more than max_size = {self.max_size}: exclude its layer, or raise max_size "
                    f"(its moment takes {8e-6 * groups * size**2:.0f} MB)"
                )
            self._sites[parameter] = ProtectedWeight(dim, moment.total.shape, parameter.device)
        site = self._sites[parameter]
        if site.dim != dim:
            raise ValueError(
                f"this parameter of shape {tuple(parameter.shape)} is already observed "
                f"{'as a layer' if site.dim is None else f'along dim {site.dim}'}: found "
                f"{'a layer' if dim is None else f'dim {dim}'}"
            )
        getattr(site, kind).merge(moment, self.forgetting)
        self._stale = True

    # ---- State ----------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return moments and bases by the parameter's index."""
        index = {parameter: i for i, parameter in enumerate(self.parameters)}
        return {
            "since_refresh": self._since_refresh,
            "stale": self._stale,
            "sites": {str(index[p]): site.state_dict() for p, site in self._sites.items()},
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore moments and bases."""
        parameters = self.parameters
        self._since_refresh, self._stale = state["since_refresh"], state["stale"]
        self._sites = {
            parameters[int(i)]: ProtectedWeight.from_state(site, parameters[int(i)].device)
            for i, site in state["sites"].items()
        }


def _shrinkage(response: Tensor, change: Tensor) -> Tensor:
    """Return the change that takes each row r of the response to the nearest c·r, 0 ≤ c ≤ 1."""
    length = response.square().sum(-1, keepdim=True)
    along = (response * change).sum(-1, keepdim=True)
    fraction = torch.where(length > 0, along / length, 0)
    return fraction.clamp(-1, 0) * response


def _rows(mask: Tensor | None, features: Tensor) -> Tensor | None:
    """Stretch a mask over the batch to the first dimension of the features."""
    if mask is None:
        return None
    entries, rows = mask.numel(), features.shape[0]
    if mask.ndim != 1 or entries == 0 or rows % entries:
        raise ValueError(
            f"expected a mask (batch,) over the first dimension of the layers' inputs, which is "
            f"{rows} at one of them; found {tuple(mask.shape)}: leave that layer out, or give one "
            "entry a sample"
        )
    return mask.repeat_interleave(rows // entries)
