"""The page's server, over real sockets: frames in, readings out."""

import json
import time
from urllib.parse import urlsplit

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.live import Monitor
from rppg.live.access import LOOPBACK, new_access
from rppg.live.frame_message import HEADER, MAGIC, MOST_BYTES, MOST_PIXELS, pack_frame, unpack_frame
from tests.rppg.live.sockets import FRAME, assert_serves, connected, running

httpx = pytest.importorskip("httpx")

from rppg.live.serving import bind_server  # noqa: E402


def test_frames_in_readings_out_and_a_reset(server):
    with connected(server) as good:
        assert good.subprotocol == "rppg"
        assert_serves(good, 0.0)
        good.send("reset")
        assert_serves(good, -400.0)


def test_readings_that_take_long_come_less_often():
    """So that frames don't wait for them until they are lost."""

    class SlowMonitor(Monitor):
        def push(self, frame, time_s, *, is_key=False):
            reading = super().push(frame, time_s, is_key=is_key)
            time.sleep(0.3 if reading is not None else 0)
            return reading

    live = bind_server(lambda: SlowMonitor(full_frame=True, every_s=0.2))
    with running(live) as server, connected(server) as connection:
        for time_s in np.arange(22) / 10:
            connection.send(pack_frame(FRAME, time_s))
        times_s = [json.loads(connection.recv(timeout=60))["time_s"] for _ in range(4)]
    assert times_s[:2] == [0.2, 0.4] and np.all(np.diff(times_s[1:]) >= 0.59)


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


def test_addresses_that_can_not_be_used(server):
    port = urlsplit(server.url).port
    with pytest.raises(InputError, match=f"127.0.0.1:{port}: can't be used"):
        bind_server(Monitor, port=port)
