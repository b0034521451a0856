"""Methods that belong to one level, answered by every wrapper of a chain.

A caller holds the outermost wrapper, which may be of any level. What its class does not implement
is forwarded to the wrapper inside it, and so on. At the end of the chain there is an error that
names the missing level.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

LEVELS = {
    "verify": "PostVerificationMask",
    "verify_input": "PostVerificationMask",
    "last": "PostVerificationMask",
    "stats": "PostVerificationMask",
    "observe_noise": "NullSpaceProjector",
    "observe_signal": "NullSpaceProjector",
    "protect": "NullSpaceProjector",
    "basis": "NullSpaceProjector",
    "coverage": "NullSpaceProjector",
    "clear": "NullSpaceProjector",
}
"""The level that implements each forwarded method or property."""


class MissingLevelError(RuntimeError, AttributeError):
    """A method or property of a level that is not in the chain of wrappers."""


class Forwarding:
    """Forwards the methods of single levels to the optimizer inside."""

    inner: Optimizer

    def _forward(self, name: str) -> Any:
        if isinstance(self.inner, Forwarding):
            return getattr(self.inner, name)
        level = LEVELS[name]
        method = name if isinstance(getattr(Forwarding, name), property) else f"{name}()"
        raise MissingLevelError(
            f"{method} belongs to {level}, and no {level} is in this chain of wrappers around "
            f"{type(self.inner).__name__}: add one, as in opt = gradreg.{level}(opt, ...)"
        )

    def verify(
        self,
        tensor: Tensor,
        evidence: Tensor | None = None,
        prior: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `PostVerificationMask.verify`."""
        verified: tuple[Tensor, Tensor] = self._forward("verify")(tensor, evidence, prior)
        return verified

    def verify_input(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """See `PostVerificationMask.verify_input`."""
        verified: tuple[Tensor, Tensor] = self._forward("verify_input")(batch)
        return verified

    @property
    def last(self) -> Any:
        """See `PostVerificationMask.last`."""
        return self._forward("last")

    @property
    def stats(self) -> Any:
        """See `PostVerificationMask.stats`."""
        return self._forward("stats")

    def observe_noise(
        self, mask: Tensor | None = None, batch_dim: int | None = None
    ) -> AbstractContextManager[None]:
        """See `NullSpaceProjector.observe_noise`."""
        context: AbstractContextManager[None] = self._forward("observe_noise")(mask, batch_dim)
        return context

    def observe_signal(
        self, mask: Tensor | None = None, batch_dim: int | None = None
    ) -> AbstractContextManager[None]:
        """See `NullSpaceProjector.observe_signal`."""
        context: AbstractContextManager[None] = self._forward("observe_signal")(mask, batch_dim)
        return context

    def protect(self, parameter: Tensor, features: Tensor, dim: int = -1) -> None:
        """See `NullSpaceProjector.protect`."""
        self._forward("protect")(parameter, features, dim)

    def basis(self, parameter: Tensor) -> Tensor:
        """See `NullSpaceProjector.basis`."""
        basis: Tensor = self._forward("basis")(parameter)
        return basis

    def coverage(self) -> Any:
        """See `NullSpaceProjector.coverage`."""
        return self._forward("coverage")()

    def clear(self) -> None:
        """See `NullSpaceProjector.clear`; acts on the clean weights."""
        clear = self._forward("clear")
        with self.unperturbed():
            clear()

    # Trainers call the following on any optimizer that has them. They reach every level, and the
    # base optimizer if it has them; a chain without either does nothing.

    def eval(self) -> None:
        """Put the weights to evaluate and save into the model; see `OnePassSmoother.eval`.

        A schedule-free base optimizer puts its averaged weights there.
        """
        if hasattr(self.inner, "eval"):  # a wrapper, or a schedule-free optimizer
            self.inner.eval()

    def train(self) -> None:
        """Put the weights to train on into the model; see `OnePassSmoother.train`."""
        if hasattr(self.inner, "train"):
            self.inner.train()

    def unperturbed(self) -> AbstractContextManager[None]:
        """Put the clean weights into the model; see `OnePassSmoother.unperturbed`.

        A schedule-free base optimizer stays in its mode: evaluate between `eval()` and `train()`.
        """
        if isinstance(self.inner, Forwarding):
            return self.inner.unperturbed()
        return nullcontext()
