"""A callback for Hugging Face: evaluate and save the clean weights of a one-pass smoother."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class CleanWeights(TrainerCallback):
    """A callback that evaluates and saves the clean weights of a `OnePassSmoother`.

    The `Trainer` itself calls the optimizer's `eval()` before evaluating and its `train()` before
    each training step. This callback also calls `eval()` before saving and at the end. The model
    in a checkpoint is ready to use, and training resumes from it exactly. Without a one-pass
    smoother it does nothing. Put it last among the callbacks, after any that request saving.

    Example:
        >>> from gradreg.integrations.transformers import CleanWeights
        >>> callbacks = [CleanWeights()]  # Trainer(model, args, ..., callbacks=callbacks)
    """

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the clean weights back before they are saved or evaluated."""
        if control.should_save or control.should_evaluate:
            _eval(kwargs["optimizer"])

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the clean weights back, since the best ones may be loaded into the model next."""
        _eval(kwargs["optimizer"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the clean weights back."""
        _eval(kwargs["optimizer"])


def _eval(optimizer: Any) -> None:
    if hasattr(optimizer, "eval"):
        optimizer.eval()
