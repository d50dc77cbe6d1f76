"""Allows only the few routes that the page uses. Gradio has some ninety more, and every release adds some.

So this lists what is open, not what is closed: a route that was not reviewed answers 404.
"""

import re

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_READ = r"/|/config/?|/theme\.css|/favicon\.ico|/(assets|static)/.+|/logo\.svg"
_READ_API = r"/gradio_api/(queue/data|heartbeat/[^/]+|upload_progress|info/?|app_id/?)"
_WRITE = r"/login|/logout|/gradio_api/(queue/join/?|component_server/?|upload/?|cancel|reset/?)"
_STARTUP = "/gradio_api/startup-events"
_OPEN = {
    "GET": re.compile(f"{_READ}|{_READ_API}"),
    "HEAD": re.compile("/"),
    "POST": re.compile(_WRITE),
}


class Routes:
    """ASGI middleware: 404 for everything that is not on the list."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._is_open(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse("There is nothing here.\n", status_code=404)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        if path == _STARTUP and not self._is_started:  # Gradio requests it once, when it starts; then nobody may
            self._is_started = True
            return True
        pattern = _OPEN.get(scope["method"])
        return bool(pattern and pattern.fullmatch(path) and ".." not in path)
