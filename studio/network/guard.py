"""Refuses all requests but those of this page under one of its own names.

A page of another site open in the same browser can send requests here, and its own name can be made to lead
here (DNS rebinding). So the Host must be one of ours, and a request that a browser sends for a page must come from ours.

A proxy in front may change the Host. Then the page's scripts are refused, so what refuses them says what the proxy must
send: in the terminal, and in the page itself (`rest`).
"""

import ipaddress
import logging
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.network.address import Address

log = logging.getLogger("rlhf_studio.ui")
PROXY = "a proxy in front must pass the Host on as the browser sent it (nginx: proxy_set_header Host $http_host;)"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Guard:
    """ASGI middleware that refuses foreign hosts (400) and requests of other origins (403)."""

    def __init__(self, app: ASGIApp, address: Address, names: Iterable[str] = ()) -> None:
        """Listen at `address`; if others reach the studio there, addresses and this machine's names lead here too.

        Args:
            app: what is guarded.
            address: where the studio listens.
            names: further names, under which a proxy or a DNS entry leads here.
        """
        self._app, self._address = app, address
        self._names = {"localhost", "127.0.0.1", "::1", address.host, *names}
        if not address.is_loopback:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._told: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] in ("http", "websocket"):
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            refusal = self._refusal(headers)
            if refusal and scope["type"] == "http":
                await PlainTextResponse(refusal[1], status_code=refusal[0])(scope, receive, send)
                return
            if refusal:
                await send({"type": "websocket.close", "code": 1008})
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 400, self._unknown(host)
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and not _is_same(origin, host):
            if site == "same-origin" and self._is_ours(urlsplit(origin).netloc):
                self._tell(origin, host)
                return 403, f"The page is at {origin} and this request came as {host}: {PROXY}.\n"
            return 403, "Requests from other pages are refused.\n"
        if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return 403, "Requests from other pages are refused.\n"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name = (parts.hostname or "").lower().removesuffix(".")
            _ = parts.port
            if "@" in parts.netloc or name in self._names:
                return "@" not in parts.netloc
            return not self._address.is_loopback and bool(
                ipaddress.ip_address(name)
            )  # no name, so nobody can rebind it
        except ValueError:
            return False

    def _unknown(self, host: str) -> str:
        """Refuse this name, and name the two ways on."""
        plain = "".join(sign for sign in host if sign.isalnum() or sign in ".-:[]")[:80]
        self._tell("", plain)
        return (
            f"This studio does not answer under the name {plain or '(none)'}. Open it at {self._address.url}\n"
            f"If a proxy or a name of yours leads here, start it with --name {_name(plain) or 'NAME'}; {PROXY}.\n"
        )

    def _tell(self, origin: str, host: str) -> None:
        """Log it in the terminal, once for each way to get it wrong."""
        if f"{origin} {host}" in self._told or len(self._told) > 20:
            return
        self._told.add(f"{origin} {host}")
        if origin:
            log.warning("The page at %s cannot work: its requests arrive as Host %s, but %s.", origin, host, PROXY)
        else:
            log.warning(
                "A request for the name %r was refused. If that name is yours: --name %s", host, _name(host) or "NAME"
            )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Return whether the origin is the host: a port that its scheme implies may be written or not."""
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"//{host}")
        implied = _DEFAULT_PORTS.get(theirs.scheme)
        is_port = (theirs.port or implied) == (ours.port or implied)
        return implied is not None and is_port and (theirs.hostname or "") == (ours.hostname or "")
    except ValueError:
        return False
