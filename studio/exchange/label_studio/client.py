"""Calls the REST API of a Label Studio server: log in, projects, tasks, people.

The token comes from the environment. A legacy token goes into each request; a personal access token is a refresh token,
with which an access token of five minutes is fetched, again when it has run out.
"""

import base64
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from studio import redaction
from studio.errors import ExchangeError

TOKEN, URL = "LABEL_STUDIO_API_KEY", "LABEL_STUDIO_URL"
"""Variables of the environment."""
PAGE_SIZE = 100
TIMEOUT_S = 60.0
ODD = "The server did not answer as Label Studio does. Check the address and the version."
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Server:
    """A server that the token opens. Use it in a `with` block.

    Raises, in all calls:
        ExchangeError: it cannot be reached, does not let us in, or answers what Label Studio does not.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        import httpx  # here: most commands need no client, and it is slow to import

        self.url = check_url(url)
        self._token = token or _from_environment()
        is_near = urlsplit(self.url).hostname in _LOOPBACK
        try:
            self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_S, trust_env=not is_near)
        except (ImportError, ValueError, OSError) as error:
            raise ExchangeError(
                f"No connection can be made: {redaction.redact(str(error))}. Check the proxy."
            ) from error
        self._access = self._token if _kind(self._token) == "access" else ""

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def find_project(self, title: str) -> dict[str, Any] | None:
        """Return the oldest project with this title."""
        found = [project for project in self._pages("/api/projects/", "results") if project.get("title") == title]
        return min(found, key=lambda project: project["id"], default=None)

    def create_project(self, title: str, config: str, annotators: int) -> dict[str, Any]:
        """Create a project in which `annotators` people judge each task; an empty answer cannot be submitted."""
        settings = {"title": title, "label_config": config, "maximum_annotations": annotators}
        settings |= {"show_skip_button": True, "enable_empty_annotation": False}
        return _list({"made": [self._call("POST", "/api/projects/", json=settings)]}, "made")[0]

    def pages(self, project_id: int, *, is_full: bool) -> Iterator[list[dict[str, Any]]]:
        """Yield the tasks of a project page by page, oldest first; with `is_full` their annotations too."""
        fields = "all" if is_full else "task_only"
        seen, page = 0, 1
        while True:
            params = {"project": project_id, "fields": fields, "page": page, "page_size": PAGE_SIZE}
            answer = self._call("GET", "/api/tasks", params=params)
            tasks = _list(answer, "tasks")
            yield tasks
            seen, page = seen + len(tasks), page + 1
            total = answer.get("total")
            if not tasks or (isinstance(total, int) and seen >= total):
                return

    def add_tasks(self, project_id: int, tasks: list[dict[str, Any]]) -> None:
        """Import tasks into a project."""
        self._call("POST", f"/api/projects/{project_id}/import", json=tasks)

    def people(self) -> dict[int, str]:
        """Map the ids of users to their e-mail addresses."""
        answer = self._call("GET", "/api/users/")
        users = _list({"results": answer} if isinstance(answer, list) else answer, "results")
        return {user["id"]: user.get("email") or user.get("username") or "" for user in users}

    def _pages(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            answer = self._call("GET", path, params={"page": page, "page_size": PAGE_SIZE})
            yield from _list(answer, name)
            if not answer.get("next"):
                return
            page += 1

    def _call(self, method: str, path: str, **request: Any) -> Any:
        response = self._send(method, path, **request)
        if response.status_code == 401 and _kind(self._token) == "refresh":  # the access token has run out
            self._access = ""
            response = self._send(method, path, **request)
        return self._read(response, path)

    def _send(self, method: str, path: str, **request: Any) -> Any:
        return self._request(method, path, headers={"Authorization": self._authorization()}, **request)

    def _request(self, method: str, path: str, **request: Any) -> Any:
        import httpx

        try:
            return self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            raise ExchangeError(f"{self.url} did not answer within {TIMEOUT_S:.0f} s. Try again later.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = redaction.redact(str(error)) or type(error).__name__
            raise ExchangeError(
                f"The connection to {self.url} failed ({cause}). Check that the server runs, then give the same command "
                "again: it goes on where it was."
            ) from error

    def _authorization(self) -> str:
        if not _kind(self._token):
            return f"Token {self._token}"
        if not self._access:
            answer = self._request("POST", "/api/token/refresh/", json={"refresh": self._token})
            self._access = str(self._read(answer, "/api/token/refresh/").get("access", ""))
        return f"Bearer {self._access}"

    def _read(self, response: Any, path: str) -> Any:
        code = response.status_code
        if code in (401, 403):
            raise ExchangeError(
                f"{self.url} does not accept the token in {TOKEN} ({code}: {_detail(response)}). Take a personal access token "
                "or a legacy token from Account & Settings, and check which kind the organisation allows."
            )
        if 300 <= code < 400:
            where = redaction.redact(response.headers.get("location", "another address"))
            raise ExchangeError(f"{self.url} redirects to {where}. Give the address of the server itself as --url.")
        if code >= 400:
            raise ExchangeError(f"{self.url} refused {path} ({code}: {_detail(response)}).")
        try:
            answer = response.json()
        except (ValueError, RecursionError) as error:
            raise ExchangeError(ODD) from error
        if not isinstance(answer, dict | list):
            raise ExchangeError(ODD)
        return answer


def check_url(url: str) -> str:
    """Return the address of a server without a slash at its end.

    Raises:
        ExchangeError: it is not an http address, or holds a password.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        named = f"{redaction.redact(url)!r} is not the address of a server" if url.strip() else "No server is named"
        raise ExchangeError(f"{named}; give it as http://127.0.0.1:8080, with --url or in {URL}.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ExchangeError(f"Give the address of {parts.hostname} alone, and the token in {TOKEN}.")
    return url.strip().rstrip("/")


def _from_environment() -> str:
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ExchangeError(f"No token: set {TOKEN} to a token of Label Studio (Account & Settings) before you start.")
    return token


def _kind(token: str) -> str:
    """Return what a JSON web token is, refresh or access; empty for a legacy token."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return "access" if payload.get("token_type") == "access" else "refresh"
    except (ValueError, AttributeError):
        return "refresh"


def _list(answer: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects with an id that a list of the server holds."""
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) and type(each.get("id")) is int for each in found):
        raise ExchangeError(ODD)
    return found


def _detail(response: Any) -> str:
    try:
        answer = response.json()
        text = str(answer.get("detail") or answer) if isinstance(answer, dict) else str(answer)
    except (ValueError, RecursionError):
        text = response.text
    return redaction.redact(" ".join(text.split())[:300])
