"""A running server of the page, and WebSockets to it as the page opens them."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest

from rppg.live.frame_message import pack_frame

pytest.importorskip("uvicorn")
client = pytest.importorskip("websockets.sync.client")

FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@contextmanager
def running(live) -> Iterator:
    """Run a bound server in a thread, and end it."""
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    while not live.server.started:
        time.sleep(0.01)
    yield live
    live.server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()


@contextmanager
def connected(server, *, origin=True, token=None, protocols=None, **options) -> Iterator:
    """Open a WebSocket as the page does, but for what is given."""
    url = urlsplit(server.url)
    own = f"{url.scheme}://{url.netloc}"
    with client.connect(
        f"{'wss' if url.scheme == 'https' else 'ws'}://{url.netloc}/frames",
        origin=own if origin is True else origin,
        subprotocols=protocols or ["rppg", token or url.fragment],
        max_size=None,
        **options,
    ) as connection:
        yield connection


def assert_serves(connection, start_s):
    """Check that a connection gets readings."""
    for time_s in start_s + np.arange(12) / 10:
        connection.send(pack_frame(FRAME, time_s))
    reading = json.loads(connection.recv(timeout=60))
    assert reading["state"] == "measuring" and reading["box"] == [0, 0, 32, 24]
