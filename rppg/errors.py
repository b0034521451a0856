"""Exceptions that mean: the input is wrong, not the program."""

from pathlib import Path


class InputError(ValueError):
    """Bad input. The message is one line: the file or argument, what was found, what to do.

    The command line prints it on stderr and exits with code 2.
    """


class WriteError(InputError):
    """An output that can't be written: the disk is full or read-only, or permission is denied.

    Attributes:
        reason: the operating system's message.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # all arguments, so that the error can be pickled
        self.reason = reason

    def __str__(self) -> str:
        return "{}: can't be written ({}); make room, or choose another path".format(*self.args)


class TruncatedError(InputError):
    """A file that ends before its content is complete."""


class RankError(RuntimeError):
    """The loss of another process of a distributed run. The message is one line for the user."""


def one_line(error: BaseException, limit: int = 120) -> str:
    """Return an error's message as one line of at most `limit` characters.

    For errors of libraries, whose messages may be long and have several lines. The name of the
    error's type if the message is empty.
    """
    return " ".join(str(error).split())[:limit] or type(error).__name__
