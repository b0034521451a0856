"""Who may connect: only the page that this process serves, by its host, its origin and its token.

A foreign web page can open a WebSocket to any address, this machine's, too; its origin gives it
away. With DNS rebinding its origin looks like ours; the host gives it away. Another program on this
machine can write any header; it doesn't know the token.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from rppg.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
PROTOCOL = "rppg"
"""The WebSocket's subprotocol; the token follows it as a second one."""


@dataclass(frozen=True)
class Access:
    """What a connection has to know.

    Attributes:
        hosts: the values of the header Host that are accepted.
        scheme: `http` or `https`.
        token: the secret of this process.
    """

    hosts: frozenset[str]
    scheme: str
    token: str

    @property
    def origins(self) -> frozenset[str]:
        """The values of the header Origin that are accepted."""
        return frozenset(f"{self.scheme}://{host}" for host in self.hosts)

    def find_host_error(self, headers: Mapping[str, str]) -> str | None:
        """Return why a request is refused by its host; None if it is accepted."""
        host = headers.get("host", "")
        return None if host in self.hosts else "unknown host"

    def find_error(self, headers: Mapping[str, str]) -> str | None:
        """Return why a WebSocket is refused; None if it is accepted."""
        if error := self.find_host_error(headers):
            return error
        if headers.get("origin", "") not in self.origins:
            return "foreign origin"
        offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
        # In a time that doesn't depend on where the token differs.
        known = [hmac.compare_digest(part.encode(), self.token.encode()) for part in offered[1:]]
        return None if offered[0] == PROTOCOL and any(known) else "wrong token"


def new_access(host: str, port: int, *, encrypted: bool = False) -> Access:
    """Return the access to a new server, with a new token.

    Args:
        host: address or name by which the server is reached.
        port: its port.
        encrypted: whether it has a certificate.

    Raises:
        InputError: an address that is reached from elsewhere, without a certificate, or one that
            stands for all.
    """
    if not is_loopback(host):
        if not encrypted:
            raise InputError(
                f"--host {host}: others can reach it, so it needs --certificate and --key; cameras "
                "need an encrypted page, too"
            )
        if host in ("0.0.0.0", "::", ""):
            raise InputError(
                f"--host {host}: stands for all addresses; give the one that is reached"
            )
    names = {*LOOPBACK} if is_loopback(host) else {f"[{host}]" if ":" in host else host}
    hosts = {f"{name}:{port}" for name in names}
    usual = 443 if encrypted else 80
    hosts |= names if port == usual else set()
    return Access(frozenset(hosts), "https" if encrypted else "http", secrets.token_urlsafe(32))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
