"""The package's warnings: captured instead of printed, or collected beside a result."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_collector: ContextVar["_Collector | None"] = ContextVar("collector", default=None)
"""The collector of the current context; a thread that works for it runs in a copy of the context
(`rppg.video.prefetch`)."""


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


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect the messages of the warnings that this context logs. They are printed as before.

    Other threads' warnings aren't among them, and none is while the logger `rppg` lets no warning
    pass.
    """
    collector = _Collector()
    logger = logging.getLogger("rppg")
    logger.addHandler(collector)
    token = _collector.set(collector)
    try:
        yield collector.messages
    finally:
        _collector.reset(token)
        logger.removeHandler(collector)


class _Collector(logging.Handler):
    """A handler that collects the messages of its own context."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _collector.get() is not self:
            return
        message = record.getMessage()
        if message not in self.messages:
            self.messages.append(message)
        if logging.lastResort is not None and not _has_other_handlers(record.name):
            logging.lastResort.handle(record)  # as logging does where nobody has set it up


def _has_other_handlers(name: str) -> bool:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, _Collector) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
