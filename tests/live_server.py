"""A studio as a person starts it, ``rlhf-studio ui`` in a process of its own, and calls to it without a browser."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from studio.workspace import Workspace

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from studio.cli import main; raise SystemExit(main())"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LiveServer:
    """Starts at once; `wait` until it answers. What it prints is in `log`."""

    def __init__(self, ws: Workspace, log: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.port, self.log = free_port(), log
        command = [*COMMAND, "ui", "--workspace", str(ws.root), "--port", str(self.port), "--no-browser"]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=dict(environment) | {"PYTHONPATH": str(ROOT)}, stdout=out, stderr=subprocess.STDOUT
            )
        self._numbers = itertools.count()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = 240) -> "LiveServer":
        """Return when it has said where it is."""
        deadline = time.monotonic() + timeout_s
        while "RLHF Studio is at" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def post(self, path: str, body: Any) -> Any:
        """The answer to a JSON request."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=240) as answer:
            return json.loads(answer.read())

    def ask(self, elem_id: str, name: str, data: Any = None) -> dict[str, Any]:
        """Call a server function of a component, as the page's own scripts do."""
        body = {"component_id": self._ids[elem_id], "fn_name": name, "session_hash": "x", "data": data}
        return self.post("gradio_api/component_server", body)

    def click(self, elem_id: str, data: list[Any]) -> dict[str, Any]:
        """Click a button that sends this data; the output of its handler, or of the one that follows when that went well, with
        `error` where it refused."""
        button, handlers = self._ids[elem_id], self._config["dependencies"]
        *_, handler = (
            fn for fn in handlers if [button, "click"] in fn["targets"]
        )  # before it, one may say what is wrong
        follows = (fn for fn in handlers if fn["trigger_after"] == handler["id"] and fn["trigger_only_on_success"])
        output = self._call(handler, data)
        following = next(follows, None)
        return self._call(following, data) if following and "error" not in output else output

    def _call(self, handler: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        session = f"live{next(self._numbers)}"
        body = {"fn_index": handler["id"], "data": data, "session_hash": session, "event_data": None}
        self.post("gradio_api/queue/join", body)
        with urllib.request.urlopen(f"{self.url}gradio_api/queue/data?session_hash={session}", timeout=240) as stream:
            for line in stream:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {"msg": ""}
                if message["msg"] == "process_completed":
                    return message["output"]
        raise AssertionError(f"{handler} gave no answer")

    @cached_property
    def _config(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}config", timeout=240) as answer:
            return json.loads(answer.read())

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {c["props"]["elem_id"]: c["id"] for c in self._config["components"] if c["props"].get("elem_id")}
