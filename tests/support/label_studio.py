"""A stand-in for a Label Studio server: its REST API as far as the studio calls it, with the quirks of 1.23.2.

Token headers of both kinds, tasks page by page, results that nobody checks, skips that carry a full result. `cut` kills
the connection of a later request, before or after it was worked on.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def web_token(kind: str, number: int = 0) -> str:
    """A JSON web token as the server makes it, unsigned."""
    parts = [{"alg": "HS256"}, {"token_type": kind, "jti": number}, {"signature": "none"}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


class LabelStudio:
    """The server's memory. A test annotates with `annotate`, `correct` and `delete`."""

    def __init__(self) -> None:
        self.projects: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.people = {1: "owner@example.test", 5: "ann1@rater.test", 6: "ann2@rater.test", 7: "ann3@rater.test"}
        self.refresh_token = web_token("refresh")
        self.access: str | None = None
        self.calls: list[str] = []
        self.headers: list[str] = []
        self.url = ""
        self._cut: list[tuple[str, bool]] = []
        self._clock = 0
        self._annotations = 0

    def cut(self, request: str, *, after: bool = False) -> None:
        """Close the connection of the next request that contains this text; with `after`, once it is worked on."""
        self._cut.append((request, after))

    def is_cut(self, line: str, *, after: bool) -> bool:
        found = next((each for each in self._cut if each[0] in line and each[1] == after), None)
        if found:
            self._cut.remove(found)
        return found is not None

    def expire(self) -> None:
        """Let the access token run out."""
        self.access = None

    def annotate(self, task: dict[str, Any], result: Any, by: int = 5, **more: Any) -> dict[str, Any]:
        self._annotations += 1
        time = self._now()
        annotation = {
            "id": self._annotations,
            "result": result,
            "completed_by": by,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": time,
            "updated_at": time,
            "lead_time": 7.25,
            "updated_by": by,
        } | more
        task["annotations"].append(annotation)
        return annotation

    def correct(self, annotation: dict[str, Any], result: Any, by: int = 5) -> None:
        annotation.update(result=result, updated_by=by, updated_at=self._now())

    def delete(self, task: dict[str, Any], annotation: dict[str, Any]) -> None:
        task["annotations"].remove(annotation)

    def answer(self, method: str, path: str, query: dict[str, Any], body: Any, header: str) -> tuple[int, Any]:
        """Return status and content of a request."""
        if path == "/api/token/refresh/":
            if (body or {}).get("refresh") != self.refresh_token:
                return 401, {"detail": "Token is invalid", "code": "token_not_valid"}
            self.access = web_token("access", len(self.calls))
            return 200, {"access": self.access}
        if header not in (f"Token {LEGACY}", f"Bearer {self.access}"):
            return 401, {"detail": "Authentication credentials were not provided."}
        if path == "/api/users/":
            return 200, [{"id": number, "email": email} for number, email in self.people.items()]
        if path == "/api/projects/":
            return self._project(body) if method == "POST" else self._list_projects(query)
        if found := re.fullmatch(r"/api/projects/(\d+)/import", path):
            return self._import(int(found[1]), body)
        if path == "/api/tasks":
            return self._list_tasks(query)
        return 404, {"detail": "Not found."}

    def _project(self, body: dict[str, Any]) -> tuple[int, Any]:
        if len(body["title"]) > 50:
            return 400, {"detail": "Validation error", "validation_errors": {"title": ["at most 50 characters"]}}
        project = {"id": len(self.projects) + 20, "created_at": self._now()} | body
        self.projects.append(project)
        return 201, project

    def _list_projects(self, query: dict[str, Any]) -> tuple[int, Any]:
        page, size = int(query["page"]), int(query["page_size"])
        shown = self.projects[::-1][(page - 1) * size : page * size]
        more = "http://elsewhere/?page=2" if page * size < len(self.projects) else None
        return 200, {"count": len(self.projects), "next": more, "previous": None, "results": shown}

    def _import(self, project: int, body: list[dict[str, Any]]) -> tuple[int, Any]:
        for task in body:
            if any(value is None for value in task["data"].values()):
                return 400, {"detail": "Validation error", "validation_errors": {"non_field_errors": ["null"]}}
        for task in body:
            self.tasks.append(
                {"id": len(self.tasks) + 100, "project": project, "data": task["data"], "annotations": []}
            )
        return 201, {"task_count": len(body), "annotation_count": 0}

    def _list_tasks(self, query: dict[str, Any]) -> tuple[int, Any]:
        page, size = int(query["page"]), int(query["page_size"])
        found = [task for task in self.tasks if task["project"] == int(query["project"])]
        shown = found[(page - 1) * size : page * size]
        if query.get("fields") != "all":
            shown = [{"id": task["id"], "data": task["data"]} for task in shown]
        return 200, {"total": len(found), "total_annotations": 0, "total_predictions": 0, "tasks": shown}

    def _now(self) -> str:
        self._clock += 1
        return f"2026-11-29T02:{self._clock // 60:02}:{self._clock % 60:02}.065402Z"


@contextmanager
def running() -> Iterator[LabelStudio]:
    """Serve on a free port of this machine."""
    state = LabelStudio()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _serve(self) -> None:
            line = f"{self.command} {self.path}"
            state.calls.append(line)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if state.is_cut(line, after=False):
                return self._hang_up()
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            header = self.headers.get("Authorization", "")
            state.headers.append(header)
            code, content = state.answer(self.command, parts.path, query, body, header)
            if state.is_cut(line, after=True):
                return self._hang_up()
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.close()

        do_GET = do_POST = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
