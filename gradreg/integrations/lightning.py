"""A callback for Lightning: evaluate and save the clean weights of a one-pass smoother."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradreg.wrapper import OptimizerWrapper


class CleanWeights(Callback):
    """A callback that keeps the weights of a `OnePassSmoother` clean between training batches.

    The weights are perturbed from the start of a training batch to its end, and clean otherwise.
    So validation, saving, averaging and logging between batches use the clean ones. Put it first
    among the callbacks. The model in a checkpoint is ready to use, and training resumes from it
    exactly. Without a one-pass smoother it does nothing.

    Example:
        >>> import lightning, torch
        >>> from gradreg.integrations.lightning import CleanWeights
        >>> trainer = lightning.Trainer(
        ...     callbacks=[CleanWeights()], logger=False, enable_checkpointing=False,
        ...     enable_model_summary=False, enable_progress_bar=False,
        ... )
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Perturb the weights."""
        for optimizer in _wrappers(trainer):
            optimizer.train()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Put the clean weights back."""
        for optimizer in _wrappers(trainer):
            optimizer.eval()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Put the clean weights back when an exception ends training."""
        for optimizer in _wrappers(trainer):
            optimizer.eval()


def _wrappers(trainer: Trainer) -> list[OptimizerWrapper]:
    return [opt for opt in trainer.optimizers if isinstance(opt, OptimizerWrapper)]
