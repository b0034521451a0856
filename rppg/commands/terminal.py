"""What the commands show: lines and JSON on stdout; progress bars and complaints on stderr."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from rppg.train import TrainProgress

stdout = Console()
stderr = Console(stderr=True)


def say(text: str, console: Console = stdout, style: str | None = None) -> None:
    """A line on stdout, to the letter: paths may hold what rich takes for markup."""
    console.print(text, style=style, soft_wrap=True, markup=False, highlight=False, emoji=False)


def say_json(document: Mapping[str, object]) -> None:
    """A JSON document on stdout, in one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def tell(text: str, style: str | None = None) -> None:
    """A line on stderr, to the letter."""
    say(text, stderr, style)


def complain(message: str) -> None:
    """The line on stderr that says what was wrong with the input."""
    tell(f"rppg: {message}", style="red")


def hush() -> None:
    """Show nothing from now on but complaints: another process of the same run shows the rest."""
    stdout.quiet = True
    logging.getLogger().setLevel(logging.ERROR)


class Bars:
    """Progress bars by name, each there from its first step on."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def stage(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what`."""
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total)
        self.progress.update(self.tasks[what], completed=done, total=total)

    def loading(self, done: int, total: int) -> None:
        """`done` of `total` recordings are read."""
        self.stage("recordings", done, total)

    def training(self, state: "TrainProgress") -> None:
        """A step of the training, with its loss."""
        self.stage("training", state.step, state.steps)
        row = state.row
        speed = row["clips_seen"] / max(row["seconds"], 1e-9)
        kept = f"kept {row['kept']:.0%}, " if "kept" in row else ""  # a peer has no mask
        self.progress.update(
            self.tasks["training"],
            description=f"training, loss {row['loss']:.3f}, {kept}{speed:.1f} clips/s",
        )

    def counter(self, what: str, total: int) -> Callable[[object], None]:
        """A function whose every call is a step of `what`."""
        done = 0

        def count(_: object) -> None:
            nonlocal done
            done += 1
            self.stage(what, done, total)

        return count


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Progress bars on stderr; plain silence where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=stderr,
        disable=stdout.quiet or not stderr.is_terminal,
    ) as progress:
        yield Bars(progress)
