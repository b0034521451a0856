"""The command line. Results go to stdout; progress, warnings and errors go to stderr.

Exit codes: 0 success, 2 bad usage or bad input, 130 interrupted, 143 terminated, 1 a bug, or the
loss of another process of a distributed training.
"""

import errno
import io
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from rppg.commands.benchmark import benchmark
from rppg.commands.cache import cache
from rppg.commands.check import check
from rppg.commands.dashed_file import hint_at_dashed_file
from rppg.commands.datasets import datasets
from rppg.commands.demo import demo
from rppg.commands.evaluate import evaluate
from rppg.commands.export import export
from rppg.commands.live import live
from rppg.commands.methods import methods
from rppg.commands.predict import predict
from rppg.commands.synthesize import synthesize
from rppg.commands.terminal import OneLine, print_error, print_line
from rppg.commands.train import train
from rppg.errors import InputError, RankError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    demo,
    train,
    evaluate,
    benchmark,
    predict,
    live,
    export,
    synthesize,
    check,
    cache,
    datasets,
    methods,
):
    app.command()(command)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""The class that typer raises for a wrong command line, which it doesn't export."""


def _show_version(requested: bool) -> None:
    if requested:
        print_line(f"rppg {version('gradreg')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """The pulse from face video, learned without labels (FCUS-rPPG). Not a medical device."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escape characters that a terminal lacks
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("rppg: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    try:
        code = app(args=arguments, prog_name="rppg", standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        usage: Any = error
        message = " ".join(usage.format_message().split()).rstrip(".")
        hint = hint_at_dashed_file(sys.argv[1:] if arguments is None else arguments)
        _exit_with_error(f"{message}{hint}; see {usage.ctx.command_path} --help")
    except InputError as error:
        _exit_with_error(str(error))
    except RankError as error:
        print_error(str(error))
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EIO):
            _exit_with_error(f"can't write ({error.strerror}); make room")
        if error.filename is None:
            raise
        _exit_with_error(f"{error.filename}: {error.strerror}; choose another path")
    # After an interrupt within exec("...") (of a dataclass while importing), `python -m` would end
    # with that signal, although it was caught. The next exec resets CPython's flag.
    exec("")
    sys.exit(code if isinstance(code, int) else 0)


def _exit_with_error(message: str) -> NoReturn:
    print_error(message)
    sys.exit(2)


if __name__ == "__main__":
    main()
