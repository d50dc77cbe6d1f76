"""The password: without it there is the login page and nothing else, neither Gradio's pages nor its files.

A browser that gave it gets a random token in a cookie; the tokens live in this process, so a restart ends them. A wrong
password costs time (`brake`). Logging out ends this browser's token, and only a button of the page itself can do it.
"""

import asyncio
import hashlib
import secrets
import unicodedata
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.errors import ConfigError
from ui.server.brake import Brake

PAGE = (Path(__file__).parent / "login.html").read_text(encoding="utf-8")
MAX_TOKENS = 1000
MAX_BODY = 16_384
TOKEN_DAYS = 30


def check(password: str) -> str:
    """Return the password, if a browser can send it.

    Raises:
        ConfigError: it is empty, too long or not text.
    """
    if not password:
        raise ConfigError("The password is empty. Choose one, or start the studio without a password.")
    try:
        length = len(password.encode())
    except UnicodeEncodeError as error:
        raise ConfigError(
            "The password contains bytes that are not UTF-8 text, which no browser can send. Choose another one."
        ) from error
    if length > 1000 or any(sign in password for sign in "\r\n\0"):
        raise ConfigError(
            "The password is longer than 1,000 bytes or holds a line break, which no browser can send. Choose another one."
        )
    return password


class Login:
    """ASGI middleware: lets through who gave the password; everybody, if none is set."""

    def __init__(self, app: ASGIApp, password: str | None, port: int) -> None:
        self._app, self._brake = app, Brake()
        self._digest = _digest(check(password)) if password is not None else None
        self._cookie = f"rlhf-studio-{port}"  # a browser gives one server's cookies to all ports of that name
        self._tokens: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        path = scope.get("path", "")
        if scope["type"] == "lifespan" or path == "/gradio_api/startup-events":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if path in ("/login", "/logout"):
            answer = await (self._log_in(request) if path == "/login" else self._log_out(request))
        elif self._digest is None or self._token(request) in self._tokens:
            await self._app(scope, receive, send)
            return
        elif path == "/":
            answer = _page("", 401)
        else:
            answer = JSONResponse({"detail": "Log in first: reload the page."}, 401)
        await answer(scope, receive, send)

    async def _log_in(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        if self._digest is None:
            return RedirectResponse("/", 303)
        if (wait := self._brake.wait_s(address)) > 0:
            return _locked(wait)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _page("This is longer than any password.", 413)
        given = parse_qs(body.decode("latin-1"), errors="surrogateescape").get("password", [""])[0]
        if secrets.compare_digest(_digest(given), self._digest):
            self._brake.right(address)
            return self._welcome(request)
        await asyncio.sleep(self._brake.wrong(address))
        if (wait := self._brake.wait_s(address)) > 0:
            return _locked(wait)
        left = self._brake.left(address)
        return _page(f"That is not the password. {left} more {'try' if left == 1 else 'tries'}.", 401)

    def _welcome(self, request: Request) -> Response:
        token = secrets.token_urlsafe(32)
        self._tokens[token] = None
        while len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)
        answer = RedirectResponse("/", 303)
        is_secure = request.url.scheme == "https"
        answer.set_cookie(
            self._cookie, token, max_age=TOKEN_DAYS * 86400, httponly=True, samesite="lax", secure=is_secure
        )
        return answer

    async def _log_out(self, request: Request) -> Response:
        """Log out by the page's own button only: the guard has checked an Origin, so it must be present."""
        if "origin" not in request.headers or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return JSONResponse({"detail": "Log out with the button on the page."}, 403)
        self._tokens.pop(self._token(request), None)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._cookie)
        return answer

    def _token(self, request: Request) -> str:
        """Return what this server's cookie holds; other cookies of the name may be odd."""
        for part in request.headers.get("cookie", "").split(";"):
            try:
                found = SimpleCookie(part.strip()).get(self._cookie)
            except CookieError:
                continue
            if found:
                return found.value
        return ""


def _digest(password: str) -> bytes:
    """Digest a password to a fixed length; é may be typed as one sign or two."""
    return hashlib.sha256(unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")).digest()


def _page(said: str, status: int) -> Response:
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": "frame-ancestors 'none'"}
    return HTMLResponse(PAGE.replace("{said}", said), status, headers)


def _locked(wait: float) -> Response:
    minutes = max(1, round(wait / 60))
    answer = _page(
        f"Too many wrong passwords. Try again in {minutes} minute{'s' * (minutes != 1)}; restarting the studio resets this.",
        429,
    )
    answer.headers["Retry-After"] = str(int(wait) + 1)
    return answer
