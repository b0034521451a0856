"""How far a trial is, in a file that its process rewrites now and then, and any process can read.

No result depends on it: a file that can't be written or read is none.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rppg.atomic import write_text
from rppg.errors import WriteError
from rppg.train.run import TrainProgress

FILE = "progress.json"
WRITE_EVERY_S = 5.0

Stage = Literal["training", "tests"]


@dataclass(frozen=True)
class Progress:
    """How far a trial is.

    Attributes:
        stage: what it is at.
        done, total: steps of the training, or recordings of all tests.
        seconds_each: seconds for one of them, as measured by this process; 0 if unknown.
        words: the same for people, such as `epoch 2 of 3, 640 clips`.
    """

    stage: Stage
    done: int
    total: int
    seconds_each: float
    words: str

    @property
    def share(self) -> float:
        """The share of the stage that is done."""
        return self.done / max(self.total, 1)


def progress_writer(path: Path, stage: Stage) -> Callable[[int, int, str], None]:
    """Return a function of `done`, `total` and `words`, which writes them now and then."""
    first, started_s, written_s = -1, 0.0, 0.0

    def write(done: int, total: int, words: str) -> None:
        nonlocal first, started_s, written_s
        now_s = time.monotonic()
        if first < 0:
            first, started_s = done, now_s
        elif now_s - written_s < WRITE_EVERY_S:
            return
        written_s = now_s
        each_s = (now_s - started_s) / (done - first) if done > first else 0.0
        text = json.dumps(asdict(Progress(stage, done, total, each_s, words)))
        with contextlib.suppress(WriteError):
            write_text(path, text + "\n")

    return write


def training_writer(path: Path, epochs: int) -> Callable[[TrainProgress], None]:
    """Return a function that is called after each step of a training of so many epochs."""
    write = progress_writer(path, "training")

    def after_step(state: TrainProgress) -> None:
        epoch, clips = state.row["epoch"], state.row["clips_seen"]
        write(state.step, state.steps, f"epoch {epoch:.0f} of {epochs}, {clips:.0f} clips")

    return after_step


def read_progress(path: Path) -> Progress | None:
    """Return how far a trial is; None if that isn't known."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
