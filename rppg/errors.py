"""The one exception that means "your input, not our bug"."""


class InputError(ValueError):
    """Bad input. The message is one line: what (file or argument), what was found, what to do.

    The command line prints it on stderr and exits with code 2.
    """
