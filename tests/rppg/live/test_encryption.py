"""The page for another device: a certificate, real TLS, and the refusals without."""

import shutil
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import pytest

from rppg.errors import InputError
from rppg.live import Monitor
from tests.rppg.live.sockets import assert_serves, connected, running

httpx = pytest.importorskip("httpx")
from websockets.exceptions import InvalidStatus  # noqa: E402

from rppg.live.serving import bind_server  # noqa: E402


@pytest.fixture(scope="module")
def host():
    """A name of this machine that isn't one of the loopback's."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 0)
    except OSError:
        pytest.skip(f"this machine's name, {name}, leads to no address")
    if name == "localhost":
        pytest.skip("this machine has no name")
    return name


@pytest.fixture(scope="module")
def files(tmp_path_factory, host):
    """A certificate for this machine's name, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{host}"]
    made = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *made], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def server(host, files):
    certificate, key = files
    monitor = Monitor(full_frame=True)
    with running(bind_server(lambda: monitor, host=host, certificate=certificate, key=key)) as live:
        yield live


@pytest.fixture(scope="module")
def trust(files):
    return ssl.create_default_context(cafile=str(files[0]))


def test_page_and_frames_are_encrypted(server, host, trust):
    url = urlsplit(server.url)
    assert url.scheme == "https" and url.hostname == host
    page = httpx.get(server.url, verify=trust)
    assert page.status_code == 200 and "rppg live" in page.text
    assert f"wss://{url.netloc}" in page.headers["content-security-policy"]
    with connected(server, ssl=trust) as connection:
        assert connection.socket.version() == "TLSv1.3"
        assert_serves(connection, 0.0)


def test_who_is_foreign_is_refused_there_too(server, trust):
    url = urlsplit(server.url)
    for wrong in ({"origin": f"http://{url.netloc}"}, {"token": "wrong"}):
        with pytest.raises(InvalidStatus) as refused, connected(server, ssl=trust, **wrong):
            pass
        assert refused.value.response.status_code == 403
    answer = httpx.get(server.url, headers={"host": f"127.0.0.1:{url.port}"}, verify=trust)
    assert answer.status_code == 421


def test_no_one_is_served_without_encryption(server, trust):
    url = urlsplit(server.url)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://{url.netloc}/")
    with pytest.raises(httpx.ConnectError, match="certificate"):  # which nobody vouches for
        httpx.get(server.url)


def test_without_a_certificate_nobody_else_is_served(host):
    with pytest.raises(InputError, match=f"--host {host}: others can reach it, so it needs"):
        bind_server(Monitor, host=host)


def test_files_that_are_no_certificate(files, tmp_path, host):
    certificate, key = files
    other = tmp_path / "other.pem"
    other.write_text("not a key", encoding="utf-8")
    for wrong in ((certificate, other), (other, key), (key, certificate)):
        with pytest.raises(InputError, match="give two PEM files that belong together"):
            bind_server(Monitor, host=host, certificate=wrong[0], key=wrong[1])
    with pytest.raises(InputError, match="belong together; give both"):
        bind_server(Monitor, host=host, certificate=certificate)
    with pytest.raises(InputError, match=r"none\.pem: no such file"):
        bind_server(Monitor, host=host, certificate=certificate, key=tmp_path / "none.pem")
