"""Output of the commands: lines and JSON on stdout; status, progress and errors on stderr."""

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
from rich.text import Text

if TYPE_CHECKING:
    from rppg.train.run import TrainProgress

LINE_EVERY_S = 30.0
STATUS_EVERY_S = 300.0

stdout = Console()
stderr = Console(stderr=True)


def printable(text: str, keep: str = "\n") -> str:
    """Escape control characters (`\\x1b`), except those in `keep`: file names may contain any."""
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


class OneLine(logging.Formatter):
    """A formatter that makes each log record one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return printable(super().format(record), keep="")


def print_line(text: str, console: Console = stdout, style: str | None = None) -> None:
    """Print a line, on stdout by default, without interpreting markup: paths may contain it."""
    console.print(
        printable(text), style=style, soft_wrap=True, markup=False, highlight=False, emoji=False
    )


def print_json(document: Mapping[str, object]) -> None:
    """Print a JSON document on stdout, in one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def print_status(text: str, style: str | None = None) -> None:
    """Print a line on stderr."""
    print_line(text, stderr, style)


def print_error(message: str) -> None:
    """Print an error message as one line on stderr."""
    print_status(printable(f"rppg: {message}", keep=""), style="red")


def print_errors_only() -> None:
    """Print only errors from now on: for all processes but one of a distributed training."""
    stdout.quiet = True
    logging.getLogger().setLevel(logging.ERROR)


@contextmanager
def changing_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line on stderr instead of the one before.

    If stderr is no terminal, it prints a line after every `STATUS_EVERY_S` instead.
    """
    if stderr.is_terminal:
        with stderr.status("") as status:
            yield lambda text: status.update(Text(printable(text, keep="")))
        return
    printed_s = time.monotonic()

    def show(text: str) -> None:
        nonlocal printed_s
        if time.monotonic() - printed_s >= STATUS_EVERY_S:
            printed_s = time.monotonic()
            print_status(text)

    yield show


class Bars:
    """Progress bars by name; each appears at its first step.

    Args:
        progress: the display.
        lines: print a line from time to time instead.
    """

    def __init__(self, progress: Progress, *, lines: bool) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}
        self.lines = lines
        self.line_at_s = time.monotonic()

    def stage(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are complete."""
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], completed=done, total=total)
        if self.lines and time.monotonic() - self.line_at_s >= LINE_EVERY_S:
            self.line_at_s = time.monotonic()
            task = self.progress.tasks[self.tasks[name]]
            left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
            print_status(f"{task.description}: {done} of {total}{left}")

    def loading(self, done: int, total: int) -> None:
        """Show that `done` of `total` recordings are read."""
        self.stage("recordings", done, total)

    def training(self, state: "TrainProgress") -> None:
        """Show a step of the training, with its loss."""
        self.stage("training", state.step, state.steps)
        row = state.row
        speed = row["clips_seen"] / max(row["seconds"], 1e-9)
        kept = f"kept {row['kept']:.0%}, " if "kept" in row else ""  # only with a mask
        self.progress.update(
            self.tasks["training"],
            description=f"training, loss {row['loss']:.3f}, {kept}{speed:.1f} clips/s",
        )

    def counter(self, name: str, total: int) -> Callable[[object], None]:
        """Return a function that completes a step of a stage at each call."""
        done = 0

        def count(_: object) -> None:
            nonlocal done
            done += 1
            self.stage(name, done, total)

        return count


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Bars]:
    """Show progress bars on stderr; if that is no terminal, lines, unless `quiet`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=stderr,
        disable=stdout.quiet or not stderr.is_terminal,
    ) as progress:
        yield Bars(progress, lines=not (stderr.is_terminal or quiet or stdout.quiet))
