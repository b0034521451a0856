"""Hugging Face: evaluate and save the clean weights of a one-pass smoother."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class CleanWeights(TrainerCallback):
    """Evaluate and save the clean weights of a `OnePassSmoother`; train on the perturbed ones.

    The `Trainer` itself calls the optimizer's `eval()` before evaluating and its `train()` before
    each training step; this callback calls `eval()` before saving as well, and at the end. In a
    checkpoint the model is ready to use, and training goes on from it exactly. With other levels
    alone it does nothing. Put it last among the callbacks, behind any that ask for saving.

    Example:
        >>> from gradreg.integrations.transformers import CleanWeights
        >>> callbacks = [CleanWeights()]  # Trainer(model, args, ..., callbacks=callbacks)
    """

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the clean weights back if they are about to be saved."""
        if control.should_save or control.should_evaluate:
            _eval(kwargs["optimizer"])

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the clean weights back: the best ones may be loaded into the model next."""
        _eval(kwargs["optimizer"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the clean weights."""
        _eval(kwargs["optimizer"])


def _eval(optimizer: Any) -> None:
    if hasattr(optimizer, "eval"):
        optimizer.eval()
