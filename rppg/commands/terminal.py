"""What the commands show: lines and JSON on stdout; progress bars and complaints on stderr."""

import json
import logging
import sys
import time
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
    from rppg.train.run import TrainProgress

LINE_EVERY_S = 30.0

stdout = Console()
stderr = Console(stderr=True)


def printable(text: str, keep: str = "\n") -> str:
    """A text in which letters that would command a terminal are written out (`\\x1b`).

    Names of files may hold any; those of `keep` stay.
    """
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


class OneLine(logging.Formatter):
    """Each record is one line, whatever names it holds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record), keep="")


def say(text: str, console: Console = stdout, style: str | None = None) -> None:
    """A line on stdout, to the letter: paths may hold what rich takes for markup."""
    console.print(
        printable(text), style=style, soft_wrap=True, markup=False, highlight=False, emoji=False
    )


def say_json(document: Mapping[str, object]) -> None:
    """A JSON document on stdout, in one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def tell(text: str, style: str | None = None) -> None:
    """A line on stderr, to the letter."""
    say(text, stderr, style)


def complain(message: str) -> None:
    """The line on stderr that says what was wrong with the input."""
    tell(printable(f"rppg: {message}", keep=""), style="red")


def hush() -> None:
    """Show nothing from now on but complaints: another process of the same run shows the rest."""
    stdout.quiet = True
    logging.getLogger().setLevel(logging.ERROR)


class Bars:
    """Progress bars by name, each there from its first step on."""

    def __init__(self, progress: Progress, *, lines: bool) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}
        self.lines = lines
        self.told_at = time.monotonic()

    def stage(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what`."""
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total)
        self.progress.update(self.tasks[what], completed=done, total=total)
        if self.lines and time.monotonic() - self.told_at >= LINE_EVERY_S:
            self.told_at = time.monotonic()
            task = self.progress.tasks[self.tasks[what]]
            left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
            tell(f"{task.description}: {done} of {total}{left}")

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
def progress_bars(*, quiet: bool = False) -> Iterator[Bars]:
    """Progress bars on stderr; where that is no terminal, now and then a line, unless `quiet`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=stderr,
        disable=stdout.quiet or not stderr.is_terminal,
    ) as progress:
        yield Bars(progress, lines=not (stderr.is_terminal or quiet or stdout.quiet))
