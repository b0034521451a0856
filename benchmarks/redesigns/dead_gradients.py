"""A wrapper that keeps updates out of the span of given gradients."""

import torch
from torch import Tensor

import gradreg


class GradientProjector(gradreg.OptimizerWrapper):
    r"""A wrapper that makes every update orthogonal to the gradients of unwanted losses.

    With the columns of U an orthonormal basis of these gradients, each over all parameters,

    .. math::
        \Delta w \leftarrow \Delta w - U U^T \Delta w

    so that to first order an update changes none of the losses.

    Reference: Farajtabar, Azizan, Mott and Li, "Orthogonal Gradient Descent for Continual
    Learning", AISTATS 2020.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        self.directions: Tensor | None = None
        self._before: list[Tensor] = []

    def avoid(self, gradients: Tensor) -> None:
        """Replace the gradients `(n, parameters)` that updates are orthogonal to.

        Each is scaled to length one first; those that are zero or not finite are left out.
        """
        rows = gradients.double()
        length = rows.norm(dim=1)
        usable = (length > 0) & length.isfinite()
        rows = rows[usable] / length[usable, None]
        _, values, rights = torch.linalg.svd(rows, full_matrices=False)
        self.directions = rights[values > 1e-6].T

    def before_update(self) -> None:
        """Copy the parameters."""
        if self.directions is not None:
            self._before = [p.detach().clone() for p in self.parameters]

    def after_update(self) -> None:
        """Remove the unwanted directions from the change that the base optimizer made."""
        if self.directions is None:
            return
        changes = zip(self.parameters, self._before, strict=True)
        update = torch.cat([(p - old).flatten() for p, old in changes]).double()
        update -= self.directions @ (self.directions.T @ update)
        parts = update.split([p.numel() for p in self.parameters])
        for p, old, part in zip(self.parameters, self._before, parts, strict=True):
            p.copy_(old + part.view_as(p).to(p.dtype))

    def end_step(self) -> None:
        """Free the copies."""
        self._before = []
