"""The training loop of every method: batches, steps, the log, saving and resuming."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rppg.errors import InputError
from rppg.train import distributed
from rppg.train.clips import Batch
from rppg.train.interrupts import StopRequest, deferred_signals
from rppg.train.resume import RunState, fitting

LogRow = dict[str, float]
OnStep = Callable[[LogRow], None]


class Trainer(Protocol):
    """A network that a method trains, and all that its next step depends on.

    Attributes:
        steps_per_epoch: number of batches in an epoch.
        saves_every_step: whether the state can be saved after any step, or only after an epoch.
    """

    steps_per_epoch: int
    saves_every_step: bool

    def start(self) -> None:
        """Prepare the first step of a new run."""

    def batches(self, skip: int) -> Iterator[Batch]:
        """Yield an epoch's batches, leaving out the first `skip`."""

    def step(self, batch: Batch) -> LogRow:
        """Make one optimizer step; return the loss and its terms.

        A step that is skipped has no loss: it is NaN, and `skipped` is 1.
        """

    def end_epoch(self, row: LogRow) -> None:
        """Finish an epoch, whose last row of the log is `row`."""

    def finished(self) -> bool:
        """Return whether to stop before the last epoch."""

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, to be saved."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved `state`."""


def fit(
    trainer: Trainer, epochs: int, on_step: OnStep | None = None, state: RunState | None = None
) -> list[LogRow]:
    """Train, and return the log, one row per step.

    Args:
        on_step: called after each step.
        state: where to save the state of the run, and whether to resume from it. With a trainer
            that `saves_every_step`, Ctrl-C and SIGTERM wait for the end of the step.

    Raises:
        InputError: the loss is not finite; or as `RunState` does.
    """
    log = _start_or_resume(trainer, state)
    clock = _Clock(log[-1]["seconds"] if log else 0.0)
    with _saver(state, trainer, log) as saver:
        while len(log) < epochs * trainer.steps_per_epoch and not trainer.finished():
            epoch, done = divmod(len(log), trainer.steps_per_epoch)
            for batch in trainer.batches(skip=done):
                _append_row(log, epoch + 1, len(batch.speed), clock, trainer.step(batch))
                if on_step:
                    on_step(log[-1])
                saver.after_step()
            with clock.paused():
                trainer.end_epoch(log[-1])
                saver.after_epoch()
    return log


def _start_or_resume(trainer: Trainer, state: RunState | None) -> list[LogRow]:
    """Return the log so far."""
    if state is None or (saved := state.load()) is None:
        trainer.start()
        return []
    with fitting(state.path):
        trainer.restore(saved)
        log: list[LogRow] = saved["log"]
    return log


def _append_row(log: list[LogRow], epoch: int, clips: int, clock: "_Clock", terms: LogRow) -> None:
    """Append a step to the log.

    Raises:
        InputError: the loss is not finite.
    """
    if not math.isfinite(terms["loss"]) and not terms.get("skipped"):
        raise InputError(
            f"the loss is {terms['loss']} at step {len(log)}; nothing was saved; lower lr, or look "
            "for damaged recordings"
        )
    log.append(
        {
            "step": len(log) + 1,
            "epoch": epoch,
            "clips_seen": (log[-1]["clips_seen"] if log else 0) + clips,
            "seconds": clock.seconds(),
            **terms,
        }
    )


class _Clock:
    """The time spent in training, counted on from that of a resumed run."""

    def __init__(self, before_s: float) -> None:
        self._started_s = time.monotonic() - before_s

    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.monotonic() - self._started_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time inside."""
        began = time.monotonic()
        yield
        self._started_s += time.monotonic() - began


class _Saver:
    """Saves the state of a run when it is due, and stops the run when a signal has asked for it."""

    def __init__(
        self, state: RunState | None, trainer: Trainer, log: list[LogRow], request: StopRequest
    ) -> None:
        self.state, self.trainer, self.log, self.request = state, trainer, log, request
        self._saved_s = time.monotonic()

    def after_step(self) -> None:
        """Save, if the state can be saved between any two steps."""
        if self.state is None or not self.trainer.saves_every_step:
            return
        self.request.number = distributed.largest(self.request.number)
        self._save_if_due(self.state)
        if self.request.number:
            self.request.stop()

    def after_epoch(self) -> None:
        """Save, if the state can only be saved between epochs."""
        if self.state and not self.trainer.saves_every_step and not self.trainer.finished():
            self._save_if_due(self.state)

    def _save_if_due(self, state: RunState) -> None:
        due = self.request.number or time.monotonic() - self._saved_s >= state.every_s
        if due and distributed.rank() == 0:
            state.save({"log": self.log, **self.trainer.state()})
            self._saved_s = time.monotonic()


@contextmanager
def _saver(state: RunState | None, trainer: Trainer, log: list[LogRow]) -> Iterator[_Saver]:
    """Yield a saver, deferring signals while it can save the state of any step."""
    if state is None or not trainer.saves_every_step:
        yield _Saver(state, trainer, log, StopRequest())
        return
    with deferred_signals() as request:
        yield _Saver(state, trainer, log, request)
