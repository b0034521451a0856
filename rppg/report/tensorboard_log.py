"""A training's log as curves in TensorBoard, written while it trains."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rppg.errors import InputError, WriteError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from rppg.peers.config import PeerConfig
    from rppg.train.config import TrainConfig
    from rppg.train.loop import LogRow
    from rppg.train.run import TrainProgress

X_AXES = ("step", "epoch", "clips_seen", "seconds")
"""Columns of the log that count, and are no curves."""
RATES = ("lr", "lr_physics")
"""Fields of the configurations: the learning rates, which are constant."""


@contextmanager
def tensorboard_log(
    folder: Path, config: "TrainConfig | PeerConfig"
) -> Iterator[Callable[["TrainProgress"], None]]:
    """Yield a function to call after each step, which writes the log's row as scalars by step.

    The scalars are called `train/NAME`: the columns of the log (loss terms, `kept`, gradient norm
    and cosine, as far as the method has them), the learning rates, and `clips_per_s`, the speed of
    the step. A value that isn't finite has no point. Each step is in the file when the next one
    begins. A run that resumes continues the curves, and a new run replaces those in its folder,
    from the first step on.

    Args:
        folder: the folder of the event file, which is created.
        config: of the training, for its learning rates.

    Raises:
        InputError: TensorBoard isn't installed, or `folder` is a file.
        WriteError: the folder can't be created, or the disk is full.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            f"{folder}: TensorBoard is not installed; pip install 'gradreg[tensorboard]'"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for TensorBoard")
    with _write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    rates = {name: getattr(config, name) for name in RATES if hasattr(config, name)}
    writer: SummaryWriter | None = None
    before: LogRow | None = None

    def write(progress: "TrainProgress") -> None:
        nonlocal writer, before
        row = progress.row
        with _write_errors(folder):
            writer = writer or _open(folder, progress.step)
            speed = _speed(row, before)
            for name, value in {**row, **rates, "clips_per_s": speed}.items():
                if name not in X_AXES and math.isfinite(value):
                    writer.add_scalar(f"train/{name}", value, progress.step)
            writer.flush()  # before the run's state is saved, from which it would resume
        before = row

    try:
        yield write
    finally:
        if writer is not None:
            with suppress(OSError):  # all is flushed; on a full disk closing raises again
                writer.close()


def _open(folder: Path, step: int) -> "SummaryWriter":
    """Open an event file in which earlier files' points from `step` on don't count."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)


def _speed(row: "LogRow", before: "LogRow | None") -> float:
    """Return the clips a second of a step; NaN of the first one after a resumption."""
    if before is None:
        before = dict.fromkeys(X_AXES, 0.0 if row["step"] == 1 else math.nan)
    seconds = row["seconds"] - before["seconds"]
    return (row["clips_seen"] - before["clips_seen"]) / seconds if seconds else math.nan


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    """Re-raise an OSError as a WriteError that names the folder."""
    try:
        yield
    except OSError as error:
        raise WriteError(folder, error.strerror or str(error)) from error
