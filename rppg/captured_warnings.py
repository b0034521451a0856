"""Captured warnings: the package's log records, collected instead of printed."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def capture_warnings() -> Iterator[Sequence[logging.LogRecord]]:
    """Collect the warnings that this package logs, and keep them from being printed."""
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("rppg")
    handler, propagate = Collect(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
