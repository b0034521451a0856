"""The page, and the WebSocket that takes its frames: a monitor for each connection.

Nothing is written to disk, and no frame is logged. A connection is ended, with the reason, by a
message that is no frame, too large, or one too many in a second; the others go on.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from rppg.errors import InputError
from rppg.live.access import PROTOCOL, Access
from rppg.live.frame_message import unpack_frame
from rppg.live.monitor import Monitor

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/main.js": ("main.js", "text/javascript"),
    "/camera.js": ("camera.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
    "/session.js": ("session.js", "text/javascript"),
}
MOST_CONNECTIONS = 4
MOST_PER_S = 120
"""Messages in a second; a camera of 60 frames a second sends fewer, also after a pause."""
RESET = "reset"
"""The only message that is text: another person."""
MOST_SHARE = 0.5
"""Share of the time in which readings are computed, while frames wait: on a slow or busy computer
they come less often, so that fewer frames are lost."""
REFUSED, TOO_MANY = 1003, 1008
"""Codes with which a WebSocket is closed."""


def create_app(access: Access, new_monitor: Callable[[], Monitor]) -> ASGIApp:
    """Return the application.

    Args:
        access: who may connect.
        new_monitor: makes the monitor of a connection.
    """
    connections: set[WebSocket] = set()

    async def frames(socket: WebSocket) -> None:
        if error := access.find_error(socket.headers):
            await _deny(socket, error, 403)
            return
        if len(connections) >= MOST_CONNECTIONS:
            await _deny(socket, "too many connections", 503)
            return
        connections.add(socket)
        try:
            await socket.accept(subprotocol=PROTOCOL)
            await _serve(socket, new_monitor())
        except WebSocketDisconnect:
            pass  # as a page that is closed does
        finally:
            connections.discard(socket)

    routes = [Route(path, partial(_file, *file)) for path, file in FILES.items()]
    app = Starlette(routes=[*routes, WebSocketRoute("/frames", frames)])
    return _Guard(app, access)


async def _serve(socket: WebSocket, monitor: Monitor) -> None:
    """Push the frames of a connection to its monitor, and send its readings, until it ends."""
    recent: deque[float] = deque()
    every_s = monitor.every_s
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        now_s = time.monotonic()
        recent.append(now_s)
        while recent[0] < now_s - 1:
            recent.popleft()
        if len(recent) > MOST_PER_S:
            await socket.close(TOO_MANY, "too many messages in a second")
            return
        try:
            reading = await _take(message, monitor)
        except InputError as error:
            await socket.close(REFUSED, str(error)[:120])
            return
        if reading is not None:
            monitor.every_s = max(every_s, (time.monotonic() - now_s) / MOST_SHARE)
            await socket.send_text(json.dumps(reading))


async def _take(message: MutableMapping[str, Any], monitor: Monitor) -> dict[str, Any] | None:
    """Push a message's frame; return a reading as JSON values, if there is one."""
    text, content = message.get("text"), message.get("bytes")
    if text is not None:
        if text != RESET:
            raise InputError(f"a text of {len(text)} characters; expected frames, or {RESET}")
        monitor.reset()
        return None
    rgb, time_s = unpack_frame(content or b"")
    reading = await anyio.to_thread.run_sync(monitor.push, rgb, time_s)
    return None if reading is None else reading.to_json()


async def _deny(socket: WebSocket, reason: str, status: int) -> None:
    log.warning("rppg live: a connection was refused: %s", reason)
    await socket.send_denial_response(PlainTextResponse(reason, status))


def _file(name: str, kind: str, request: Request) -> Response:
    return Response((PAGE / name).read_bytes(), media_type=kind)


class _Guard:
    """Refuses requests for foreign hosts, and adds the headers that confine the page.

    A page from another host with this address (DNS rebinding) could else read what is served.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        headers = security_headers(access)
        self._headers = [(key.encode(), value.encode()) for key, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        if error := self._access.find_host_error(Headers(scope=scope)):
            await PlainTextResponse(error, 421)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def security_headers(access: Access) -> dict[str, str]:
    """Return the headers by which a browser confines the page to what this process serves."""
    scheme = "wss" if access.scheme == "https" else "ws"
    # For browsers whose 'self' has no sockets in it. A policy can't name an address of IPv6.
    named = [host for host in sorted(access.hosts) if not host.startswith("[")]
    sockets = " ".join(f"{scheme}://{host}" for host in named)
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": f"'self' {sockets}",
        "media-src": "blob:",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "cache-control": "no-store",
    }
