"""A weight that is projected: summaries of its noise and signal, and a basis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from gradreg.project.selection import Selection, Summary
from gradreg.project.sketch import Sketch
from gradreg.project.subspace import SecondMoment, is_tokens
from gradreg.project.tokens import TokenCounts

Kind = Literal["noise", "signal"]


class ProtectedWeight:
    """A weight with summaries of the features it was multiplied with, and a basis.

    Args:
        dim: the dimension that is multiplied with features; None for a layer's weight.
        basis: U (groups, d, r) in double precision, of an embedding the indices of tokens (1, r);
            without columns at first.
        transposed: whether the layer's weight has the features along its first dimension.
        bias: the layer's bias, if it counts as one more feature's weight.
        shape: the parameter's shape when it was first observed.
        bias_rows: first and last + 1 of the bias' entries that belong to this weight; None for all.
    """

    def __init__(
        self,
        dim: int | None,
        basis: Tensor,
        transposed: bool,
        bias: Tensor | None,
        shape: torch.Size,
        bias_rows: tuple[int, int] | None = None,
    ) -> None:
        self.bias_rows = bias_rows
        self.dim, self.transposed, self.bias, self.shape = dim, transposed, bias, shape
        self.noise: Summary | None = None
        self.signal: Summary | None = None
        self.basis = basis
        self._copies: dict[torch.dtype, Tensor] = {}

    @property
    def basis(self) -> Tensor:
        """U (groups, d, r), in double precision; of an embedding tokens (1, r)."""
        return self._basis

    @basis.setter
    def basis(self, basis: Tensor) -> None:
        self._basis, self._copies = basis, {}

    def basis_in(self, dtype: torch.dtype) -> Tensor:
        """Return U in another precision, kept until it changes."""
        if is_tokens(self._basis):
            return self._basis
        if dtype not in self._copies:
            self._copies[dtype] = self._basis.to(dtype)
        return self._copies[dtype]

    def with_bias(self, parameter: Tensor) -> list[Tensor]:
        """Return the tensors that are projected together: the parameter and its bias."""
        if self.bias is None:
            return [parameter]
        if self.bias_rows is None:
            return [parameter, self.bias]
        return [parameter, self.bias.detach()[slice(*self.bias_rows)]]

    def learn(self, kind: Kind, summary: Summary, forgetting: float) -> None:
        """Add a new observation of noise or signal."""
        previous = getattr(self, kind)
        self._split_groups(summary)
        if previous is None:
            setattr(self, kind, summary)
        else:
            previous.merge(summary, forgetting)

    def _split_groups(self, new: Summary) -> None:
        """Bring all summaries to the same number of groups, if attention has got more of them."""
        summaries = [s for s in (new, self.noise, self.signal) if s is not None]
        groups = max(summary.shape[0] for summary in summaries)
        for summary in summaries:
            if not isinstance(summary, TokenCounts):
                summary.split_groups(groups)
        if self.basis.shape[0] < groups:
            self.basis = self.basis.repeat(groups, 1, 1)

    def compute_basis(self, selection: Selection) -> Tensor:
        """Return the basis by the present summaries, without columns if there is no noise."""
        if self.noise is None:
            return self.basis[..., :0]
        return selection.basis(self.noise, self.signal)

    def state_dict(self) -> dict[str, Any]:
        """Return summaries and basis."""
        state = {"dim": self.dim, "basis": self.basis}
        for kind in ("noise", "signal"):
            summary = getattr(self, kind)
            if summary is not None:
                state[kind] = summary.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, except for `dim`."""
        device = self.basis.device
        self.basis = state["basis"].to(device, copy=True)
        for kind in ("noise", "signal"):
            saved = state.get(kind)
            if saved is not None:
                setattr(self, kind, _type_of(saved).from_state(saved, device))


def _type_of(state: Mapping[str, Any]) -> type[Summary]:
    """Return the type of the summary that a state is of."""
    if "tokens" in state:
        return TokenCounts
    return Sketch if "buffer" in state else SecondMoment
