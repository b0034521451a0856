"""Ctrl-C, and a scheduler's SIGTERM, wait until a step is done, so that its state can be kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopAsked:
    """Whether a signal has asked to stop: its number, 0 if none has."""

    number = 0

    def stop(self) -> None:
        """End as the signal would have ended the process at once."""
        if self.number == signal.SIGTERM:
            raise SystemExit(128 + self.number)
        raise KeyboardInterrupt


@contextmanager
def stops_wait() -> Iterator[StopAsked]:
    """Note the first signal instead of ending by it; the second one ends.

    Outside of the main thread, which alone is told of signals, and where a signal is ignored,
    nothing is changed.
    """
    asked = StopAsked()

    def note(number: int, _: FrameType | None) -> None:
        again, asked.number = asked.number, number
        if again:
            asked.stop()

    here = threading.current_thread() is threading.main_thread()
    heeded = [n for n in SIGNALS if here and signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
