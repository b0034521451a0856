"""The page's server, over real sockets: frames in, readings out, and nobody else."""

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.live import Monitor
from rppg.live.access import LOOPBACK, new_access
from rppg.live.frame_message import HEADER, MAGIC, MOST_BYTES, MOST_PIXELS, pack_frame, unpack_frame

pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
client = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from rppg.live.server import MOST_CONNECTIONS, MOST_PER_S  # noqa: E402
from rppg.live.serving import bind_server  # noqa: E402

FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def estimator():
    from rppg.estimators.find import load_estimator

    return load_estimator()


@pytest.fixture(scope="module")
def server(estimator):
    live = bind_server(lambda: Monitor(estimator=estimator, full_frame=True))
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    while not live.server.started:
        time.sleep(0.01)
    yield live
    live.server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()


@contextmanager
def connected(server, *, origin=True, token=None, protocols=None):
    """Open a WebSocket as the page does, but for what is given."""
    url = urlsplit(server.url)
    own = f"{url.scheme}://{url.netloc}"
    with client.connect(
        f"ws://{url.netloc}/frames",
        origin=own if origin is True else origin,
        subprotocols=protocols or ["rppg", token or url.fragment],
        max_size=None,
    ) as connection:
        yield connection


def push(connection, times_s):
    for time_s in times_s:
        connection.send(pack_frame(FRAME, time_s))


def assert_serves(connection, start_s):
    """Check that a connection still gets readings."""
    push(connection, start_s + np.arange(12) / 10)
    reading = json.loads(connection.recv(timeout=60))
    assert reading["state"] == "measuring" and reading["box"] == [0, 0, 32, 24]


def test_frames_in_readings_out_and_a_reset(server):
    with connected(server) as good:
        assert good.subprotocol == "rppg"
        assert_serves(good, 0.0)
        good.send("reset")
        assert_serves(good, -400.0)


def test_the_page_loads_nothing_from_elsewhere(server):
    base = server.url.partition("#")[0]
    page = httpx.get(base)
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200 and "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    assert "http" not in page.text.replace("http-equiv", "")
    assert "Not a medical device" in page.text and server.url.partition("#")[2] not in page.text
    for name in ("style.css", "main.js", "camera.js", "drawing.js", "session.js"):
        assert name in page.text or name.endswith(".js")
        file = httpx.get(base + name)
        assert file.status_code == 200 and "://" not in file.text.replace("://${", "")
    assert httpx.get(base + "../server.py").status_code == 404


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
        for _ in range(50):
            try:
                manager = connected(server)
                manager.__enter__()
                opened.append(manager)
            except InvalidStatus as error:
                refused += error.response.status_code == 503
        assert len(opened) == MOST_CONNECTIONS - 1 and refused == 50 - len(opened)
        assert_serves(good, 0.0)
        for manager in opened:
            manager.__exit__(None, None, None)
    time.sleep(0.2)
    with connected(server) as again:
        assert_serves(again, 0.0)


def test_a_frame_arrives_as_it_was_sent():
    rgb, time_s = unpack_frame(pack_frame(FRAME, 12.25))
    assert np.array_equal(rgb, FRAME) and time_s == 12.25
    large = np.zeros((320, MOST_PIXELS // 320, 3), np.uint8)
    assert len(pack_frame(large, 0.0)) == MOST_BYTES
    with pytest.raises(InputError, match="0x0 pixels"):
        unpack_frame(HEADER.pack(MAGIC, 0, 0, 0.0))


def test_hosts_and_tokens():
    access = new_access("127.0.0.1", 8740)
    assert access.hosts == {f"{name}:8740" for name in LOOPBACK}
    assert access.origins == {f"http://{name}:8740" for name in LOOPBACK}
    assert new_access("127.0.0.1", 8740).token != access.token and len(access.token) > 40
    named = new_access("clinic.example", 443, encrypted=True)
    assert named.origins == {"https://clinic.example", "https://clinic.example:443"}
    with pytest.raises(InputError, match="needs --certificate"):
        new_access("192.168.1.2", 8740)
    with pytest.raises(InputError, match="stands for all addresses"):
        new_access("0.0.0.0", 8740, encrypted=True)


def test_addresses_that_can_not_be_used(server, estimator):
    port = urlsplit(server.url).port
    with pytest.raises(InputError, match=f"127.0.0.1:{port}: can't be used"):
        bind_server(Monitor, port=port)
