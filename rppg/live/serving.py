"""The server's process: its socket, its limits, and the address of the page."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from rppg.errors import InputError
from rppg.live.access import new_access
from rppg.live.frame_message import MOST_BYTES
from rppg.live.monitor import Monitor
from rppg.live.server import create_app

MOST_REQUESTS = 64
"""Connections of any kind; more are refused. Of a WebSocket, one message waits, then its sender."""

BUSY_S = 120.0
"""Time after which a browser that doesn't answer is gone: the answer waits behind its frames."""


@dataclass(frozen=True)
class LiveServer:
    """A server that is bound to its address, but not running.

    Attributes:
        url: of the page, with the token, which a browser doesn't send on.
        server: run it with `server.run(sockets=[bound])`.
        bound: the listening socket.
    """

    url: str
    server: uvicorn.Server
    bound: socket.socket

    def run(self) -> None:
        """Serve until the process is interrupted, or `server.should_exit` is True."""
        self.server.run(sockets=[self.bound])


def bind_server(
    new_monitor: Callable[[], Monitor],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> LiveServer:
    """Return a server on an address.

    Args:
        new_monitor: makes the monitor of a connection.
        host: the address; other than this machine's own only with a certificate.
        port: 0 for any that is free.
        certificate, key: PEM files of TLS.

    Raises:
        InputError: an address that can't be used, no certificate for one that others reach, one
            without its key, or files that are none.
    """
    if (certificate is None) != (key is None):
        raise InputError("--certificate and --key belong together; give both, or none")
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise InputError(f"{file}: no such file; check the path")
    encrypted = certificate is not None
    new_access(host, port, encrypted=encrypted)  # refuses the address before it is opened
    bound = _bind(host, port)
    access = new_access(host, bound.getsockname()[1], encrypted=encrypted)
    config = uvicorn.Config(
        create_app(access, new_monitor),
        ws="websockets-sansio",
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,
        ws_ping_timeout=BUSY_S,
        limit_concurrency=MOST_REQUESTS,
        timeout_graceful_shutdown=2,
        access_log=False,
        log_level="critical",
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        bound.close()
        raise InputError(
            f"{certificate}, {key}: no certificate and its key ({error.strerror or error}); give "
            "two PEM files that belong together"
        ) from error
    address = sorted(access.hosts)[0]
    url = f"{access.scheme}://{address}/#{access.token}"
    return LiveServer(url, uvicorn.Server(config), bound)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        bound = socket.socket(family, kind, number)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise InputError(
            f"{host}:{port}: can't be used ({error.strerror}); choose another --port or --host"
        ) from error
    bound.listen()
    return bound
