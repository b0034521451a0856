"""Attacks on the page's server, over real sockets: each is refused, and others are served."""

import logging
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import numpy as np
import pytest

from rppg.live.frame_message import HEADER, MAGIC, MOST_BYTES, pack_frame
from tests.rppg.live.sockets import FRAME, assert_serves, client, connected

httpx = pytest.importorskip("httpx")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from rppg.live.server import MOST_CONNECTIONS, MOST_PER_S  # noqa: E402

GIGABYTE = 10**9
CHUNK = bytes(1 << 16)


def test_a_foreign_host_gets_nothing(server):
    """DNS rebinding: a foreign name that leads to this address."""
    base = server.url.partition("#")[0]
    answer = httpx.get(base, headers={"host": "evil.example"})
    assert answer.status_code == 421 and answer.text == "unknown host"


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": None},
        {"token": "wrong"},
        {"protocols": ["rppg"]},
        {"protocols": ["other"]},
    ],
)
def test_foreign_pages_are_refused(server, wrong, caplog):
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InvalidStatus) as refused,
        connected(server, **wrong),
    ):
        pass
    assert refused.value.response.status_code == 403
    assert "a connection was refused" in caplog.text


def test_a_rebound_name_is_refused(server):
    """With everything right but the host."""
    url = urlsplit(server.url)
    with (
        pytest.raises(InvalidStatus) as refused,
        client.connect(
            f"ws://evil.example:{url.port}/frames",
            sock=socket.create_connection(("127.0.0.1", url.port)),
            origin=f"http://evil.example:{url.port}",
            subprotocols=["rppg", url.fragment],
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (b"", 1003, "no frame"),
        (np.random.default_rng(1).bytes(5000), 1003, "no frame"),
        (pack_frame(FRAME, 0.0)[:-1], 1003, "expected"),
        (pack_frame(FRAME, float("nan")), 1003, "not finite"),
        (HEADER.pack(MAGIC, 60000, 60000, 0.0), 1003, "60000x60000 pixels"),
        ("hello", 1003, "a text of 5 characters"),
        (bytes(MOST_BYTES + 1), 1009, ""),
        (bytes(50_000_000), 1009, ""),
    ],
)
def test_a_malformed_message_ends_its_connection_alone(server, message, code, reason):
    with connected(server) as good, connected(server) as bad:
        with pytest.raises(ConnectionClosed) as closed:
            bad.send(message)
            bad.recv(timeout=60)
        if closed.value.rcvd is not None:  # a large message may break off before
            assert closed.value.rcvd.code == code and reason in closed.value.rcvd.reason
        assert_serves(good, 0.0)


def test_a_flood_ends_its_connection_alone(server):
    with connected(server) as good, connected(server) as bad:
        message = pack_frame(FRAME, 0.0)
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(10_000):
                bad.send(message)
            bad.recv(timeout=60)
        if closed.value.rcvd is not None:
            assert closed.value.rcvd.code == 1008 and "too many" in closed.value.rcvd.reason
        assert_serves(good, 0.0)
    assert MOST_PER_S >= 90


def test_many_connections_are_refused_and_those_that_end_make_room(server):
    with connected(server) as good:
        opened = []
        refused = 0
        for _ in range(200):
            try:
                manager = connected(server)
                manager.__enter__()
                opened.append(manager)
            except InvalidStatus as error:
                refused += error.response.status_code == 503
        assert len(opened) == MOST_CONNECTIONS - 1 and refused == 200 - len(opened)
        assert_serves(good, 0.0)
        for manager in opened:
            manager.__exit__(None, None, None)
    time.sleep(0.2)
    with connected(server) as again:
        assert_serves(again, 0.0)


@pytest.mark.parametrize("whole", [True, False])
def test_a_gigabyte_is_refused_before_it_is_there(server, whole):
    """As one message, and in parts that would be allowed: few of its bytes are accepted."""
    length = GIGABYTE if whole else len(CHUNK)
    start = bytes([0x82 if whole else 0x02, 0xFF]) + length.to_bytes(8, "big") + bytes(4)
    go_on = b"" if whole else bytes([0x00, 0xFF]) + length.to_bytes(8, "big") + bytes(4)
    with connected(server) as good, connected(server) as bad:
        with pytest.raises((OSError, ConnectionClosed)):
            bad.socket.sendall(start)
            for _ in range(100 * MOST_BYTES // len(CHUNK)):  # as much fits into buffers on the way
                bad.socket.sendall(CHUNK + go_on)
        assert_serves(good, 0.0)


def test_bytes_that_are_no_http(server):
    url = urlsplit(server.url)
    with connected(server) as good:
        for seed in range(20):
            with socket.create_connection((url.hostname, url.port), timeout=60) as bad:
                bad.sendall(np.random.default_rng(seed).bytes(5000))
                bad.shutdown(socket.SHUT_WR)
                while bad.recv(1 << 16):
                    pass
        assert_serves(good, 0.0)


def test_silent_connections_do_not_disturb_a_session(server):
    url = urlsplit(server.url)
    with ExitStack() as stack:
        good = stack.enter_context(connected(server))
        for _ in range(200):
            stack.enter_context(socket.create_connection((url.hostname, url.port), timeout=60))
        assert_serves(good, 0.0)
    time.sleep(0.5)
    assert httpx.get(server.url).status_code == 200
