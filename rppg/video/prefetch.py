"""Prefetching: a thread prepares a stream's next items while the current ones are used."""

from collections.abc import Iterator
from contextvars import copy_context
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

FRAMES = 8
"""Frames decoded ahead: about as many as pass during the detection of a batch of faces."""


def prefetch(items: Iterator[T], count: int = FRAMES) -> Iterator[T]:
    """Yield the same items in the same order, up to `count` of them prepared in advance.

    The thread has a copy of the caller's context variables. An error in an item is raised in the
    item's turn. When this iterator is closed or garbage
    collected, the thread ends and `items` is closed.
    """
    ready: Queue[T | _End] = Queue(count)
    stop = Event()
    work = (_fill, items, ready, stop)
    thread = Thread(target=copy_context().run, args=work, name="reading ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()


class _End:
    """The marker after the last item, with the error that ended the stream if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _fill(items: Iterator[T], ready: "Queue[T | _End]", stop: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(item, ready, stop):
                break
    except BaseException as caught:  # noqa: BLE001  raised in the consuming thread
        error = caught
    finally:
        if close := getattr(items, "close", None):
            close()
    _put(_End(error), ready, stop)


def _put(item: "T | _End", ready: "Queue[T | _End]", stop: Event) -> bool:
    """Queue an item. Return False if the consumer stopped first."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.05)
        except Full:
            continue
        return True
    return False
