"""The exceptions that mean "your input, not our bug"."""


class InputError(ValueError):
    """Bad input. The message is one line: what (file or argument), what was found, what to do.

    The command line prints it on stderr and exits with code 2.
    """


class TruncatedError(InputError):
    """A file that ends before its content does."""


class RankError(RuntimeError):
    """Another process of a distributed run is gone; the message is one line for the user."""
