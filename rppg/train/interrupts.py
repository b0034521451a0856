"""Ctrl-C and SIGTERM are deferred to the end of a training step, so that its state can be saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A request to stop: the number of the signal that made it, 0 while there is none."""

    number = 0

    def stop(self) -> None:
        """Raise what the signal would have raised at once.

        Raises:
            KeyboardInterrupt: for SIGINT.
            SystemExit: for SIGTERM.
        """
        if self.number == signal.SIGTERM:
            raise SystemExit(128 + self.number)
        raise KeyboardInterrupt


@contextmanager
def deferred_signals() -> Iterator[StopRequest]:
    """Record the first signal instead of ending on it; end on the second.

    Nothing changes outside of the main thread, which alone receives signals, or for a signal that
    is ignored.
    """
    request = StopRequest()

    def record(number: int, _: FrameType | None) -> None:
        repeated, request.number = request.number, number
        if repeated:
            request.stop()

    in_main = threading.current_thread() is threading.main_thread()
    handled = [n for n in SIGNALS if in_main and signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, record) for number in handled}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
