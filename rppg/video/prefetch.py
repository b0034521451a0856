"""Reading ahead: a stream's next items are made in another thread while the last ones are used."""

from collections.abc import Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

FRAMES = 8
"""Frames decoded ahead: as many as pass while a batch of faces is looked for."""


def ahead(items: Iterator[T], count: int = FRAMES) -> Iterator[T]:
    """The same items in the same order, up to `count` of them made before they are asked for.

    An error in making an item is raised where the item would have come. When the iterator is
    closed, or left behind, the thread ends and `items` is closed with it.
    """
    ready: Queue[T | _End] = Queue(count)
    stop = Event()
    thread = Thread(target=_fill, args=(items, ready, stop), name="reading ahead", daemon=True)
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
    """Stands after the last item."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _fill(items: Iterator[T], ready: "Queue[T | _End]", stop: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(item, ready, stop):
                break
    except BaseException as caught:  # noqa: BLE001  it belongs to the thread that reads
        error = caught
    finally:
        if close := getattr(items, "close", None):
            close()
    _put(_End(error), ready, stop)


def _put(item: "T | _End", ready: "Queue[T | _End]", stop: Event) -> bool:
    """Whether the item could be handed over before the reader stopped."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.05)
        except Full:
            continue
        return True
    return False
