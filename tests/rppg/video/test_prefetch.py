"""Reading ahead changes nothing but the time at which items are made."""

import threading
import time

import pytest

from rppg.video.prefetch import prefetch


def threads() -> int:
    return sum(thread.name == "reading ahead" for thread in threading.enumerate())


def test_the_same_items_in_the_same_order():
    assert list(prefetch(iter(range(1000)), 3)) == list(range(1000))
    assert list(prefetch(iter([]))) == []
    assert threads() == 0


def test_an_error_comes_where_the_item_would_have():
    def broken():
        yield 1
        yield 2
        raise ValueError("at the third")

    stream = prefetch(broken())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="at the third"):
        next(stream)
    assert threads() == 0


def test_no_more_than_asked_for_is_made_ahead():
    made = []

    def items():
        for n in range(100):
            made.append(n)
            yield n

    stream = prefetch(items(), 4)
    next(stream)
    time.sleep(0.2)
    assert len(made) <= 1 + 4 + 1  # given out, waiting, and the one in hand
    stream.close()


def test_closing_ends_the_thread_and_the_source():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    source = items()  # held here, so that it isn't closed by being forgotten
    stream = prefetch(source, 2)
    next(stream)
    stream.close()
    assert closed.is_set() and threads() == 0
