"""The exceptions that mean "your input, not our bug"."""

from pathlib import Path


class InputError(ValueError):
    """Bad input. The message is one line: what (file or argument), what was found, what to do.

    The command line prints it on stderr and exits with code 2.
    """


class WriteError(InputError):
    """An output that can't be written: the disk is full, read-only, or not the user's.

    Attributes:
        reason: why not, in the system's words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # all that it is made of, so that it can be pickled
        self.reason = reason

    def __str__(self) -> str:
        return "{}: can't be written ({}); make room, or choose another path".format(*self.args)


class TruncatedError(InputError):
    """A file that ends before its content does."""


class RankError(RuntimeError):
    """Another process of a distributed run is gone; the message is one line for the user."""


def one_line(error: BaseException, limit: int = 120) -> str:
    """Return an error's reason in one line of at most `limit` characters; its type if it has none.

    For the messages of libraries, which may be long and have several lines.
    """
    return " ".join(str(error).split())[:limit] or type(error).__name__
