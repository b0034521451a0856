"""The warnings of this package, gathered for whoever wants to tell them in another way."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def warnings_kept() -> Iterator[Sequence[logging.LogRecord]]:
    """The warnings of this package, kept from the screen."""
    told: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record)

    logger = logging.getLogger("rppg")
    handler, propagate = Keep(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
