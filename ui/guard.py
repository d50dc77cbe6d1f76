"""Who may talk to the studio: this page itself, under a name that belongs to this machine. Everybody else is refused.

A page of another site that is open in the same browser can send requests here, and a name of its own can be made to lead
here (DNS rebinding). So the Host must be one of ours, and a request that a browser sends for a page must come from ours.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class Guard:
    """ASGI middleware that refuses foreign hosts (400) and requests of other origins (403)."""

    def __init__(self, app: App, host: str, is_open: bool) -> None:
        """`host` is where the studio listens; if it `is_open`, addresses and this machine's names lead here too."""
        self._app, self._is_open = app, is_open
        self._names = {"localhost", "127.0.0.1", "::1", host.lower()}
        if is_open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
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
            return 400, "This studio does not answer under that name. Open it by the address that it printed.\n"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "Requests from other pages are refused.\n"
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if is_foreign and headers.get("sec-fetch-mode") != "navigate":
            return 403, "Requests from other pages are refused.\n"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name = (parts.hostname or "").lower()
            if "@" in parts.netloc or name in self._names:
                return "@" not in parts.netloc
            return self._is_open and ipaddress.ip_address(name) is not None  # no name, so nobody can rebind it
        except ValueError:
            return False
