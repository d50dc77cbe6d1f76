"""Every handler, server function and route of the running app, called raw with what no page would send.

Nothing is listed by hand: what is called is read from the running app, so a new handler is called too. An audit hook sees
each file this process opens and each program it starts: none may lie outside, and none may carry what was sent.
"""

import itertools
import json
import os
import shutil
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import pytest
from starlette.routing import Route

from assets import STARTER
from studio.errors import RunError
from studio.models import export
from studio.runs import launcher, memory_fit, preview, runs
from tests.support import stored

pytestmark = pytest.mark.timeout(900)
SECRET = "the-secret-of-the-lighthouse"
SINGLE = ("path", "folder", "link", "reward", "classifier")
PORT_NAMES = ("localhost", "127.0.0.1")
seen: list[tuple[str, str]] = []
is_watching = threading.Event()


def watch(event, arguments):
    """Remember what is opened, listed or started while a test watches; an audit hook cannot be taken away again."""
    if is_watching is None:  # the interpreter shuts down
        return
    if is_watching.is_set() and event in ("open", "os.listdir", "os.scandir", "sqlite3.connect", "glob.glob"):
        seen.append(("file", str(arguments[0])))
    elif is_watching.is_set() and event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pty.spawn"):
        seen.append(("program", repr(arguments)[:2000]))


sys.addaudithook(watch)


@pytest.fixture
def outside(tmp_path, full_ws, monkeypatch):
    """A folder next to the workspace with something to steal, and two links to it from within."""
    monkeypatch.delenv("RLHF_STUDIO_ROOTS")
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.jsonl").write_text(json.dumps({"prompt": SECRET, "response": SECRET}) + "\n")
    (folder / "reward.py").write_text(f"def score(prompts, responses): return '{SECRET}'\n")
    shutil.copytree(STARTER / "model", folder / "model")
    (full_ws.rewards / "link.py").symlink_to(folder / "reward.py")
    (full_ws.root / "link.jsonl").symlink_to(folder / "secret.jsonl")
    return folder


def hostile(ws, outside):
    """What is sent in place of each value."""
    secret = outside / "secret.jsonl"
    upload = {"path": str(secret), "orig_name": "x", "meta": {"_type": "gradio.FileData"}}
    return {
        "path": str(secret),
        "folder": str(outside / "model"),
        "traversal": "../outside/secret.jsonl",
        "deep traversal": "/".join([".."] * 12) + str(secret),
        "encoded": f"..%2f..%2f{secret}",
        "link": str(ws.root / "link.jsonl"),
        "reward": "function:link.py:score + function:../../outside/reward.py:score",
        "classifier": f"classifier:{outside / 'model'}",
        "address": f"file://{secret}",
        "null": f"{secret}\0.jsonl",
        "shell": f"$(cat {secret}); `cat {secret}` | cat {secret} && cat {secret}",
        "sql": "'; DROP TABLE runs; --",
        "surrogate": "\ud800",
        "huge text": "x" * 300_000,
        "huge number": 10**300,
        "minus": -1,
        "float": 1e308,
        "none": None,
        "true": True,
        "list": [[[str(secret)]] * 50] * 50,
        "object": {"__class__": "os", "__type__": "update", "value": str(secret)},
        "file": upload,
        "files": [upload],
    }


class Caller:
    """Sends requests and keeps count; each answer is looked through for the secret."""

    def __init__(self, url):
        self.url, self.counts = url, Counter()

    def send(self, path, body=None, headers=None, method=None):
        """The status and the text of one answer; 0 where the request could not even be written down."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            request = urllib.request.Request(
                self.url + path, data, headers or {"Content-Type": "application/json"}, method=method
            )
            with urllib.request.urlopen(request, timeout=240) as answer:
                status, text = answer.status, answer.read(2_000_000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode(errors="replace")
        except (ValueError, OSError):
            status, text = 0, ""
        assert SECRET not in text, f"{path} {str(body)[:300]} gave the secret away"
        return status, text


def outcome(caller, session):
    """How the one open event of a session ended: its handler answered or refused, or Gradio could not write its answer down.

    The stream is read to its end: one that is cut off takes the session's next event with it.
    """
    end = "silent"
    with urllib.request.urlopen(f"{caller.url}gradio_api/queue/data?session_hash={session}", timeout=240) as stream:
        for line in stream:
            assert SECRET.encode() not in line, line[:500]
            message = json.loads(line[5:]) if line.startswith(b"data:") else {"msg": ""}
            if message["msg"] == "process_completed":
                end = "answered" if message["success"] else "refused"
            if message["msg"] == "unexpected_error":
                return "unwritable"
    return end


def starting_values(fn):
    """What the page itself would send at first."""
    return [getattr(component, "value", None) for component in fn.inputs]


def calls(served, values, share):
    """(handler, data): hostile values in every place at once, and in one text field next to what the page would send.

    Of handlers that are the same function of the same fields (each field of a form has one), the first gets a `share` of the
    values in turn and each text field its own, each other one gets a single value.
    """
    known, turns, singles = set(), itertools.cycle(values.values()), itertools.cycle(SINGLE)
    for fn in served.app.fns.values():
        if fn.fn is None:
            continue
        kind = (fn.fn.__name__, len(fn.inputs), tuple(i.elem_id for i in fn.inputs))
        for value in itertools.islice(turns, 1 if kind in known else some(values, share)):
            yield fn, [value] * max(1, len(fn.inputs))
        if kind in known:
            continue
        known.add(kind)
        yield fn, []
        start = starting_values(fn)
        places = [place for place, component in enumerate(fn.inputs) if isinstance(component, gr.Textbox | gr.HTML)]
        for place, name in itertools.product(places, SINGLE if share == 1.0 else itertools.islice(singles, 1)):
            yield fn, [*start[:place], values[name], *start[place + 1 :]]


def some(values, share):
    """So many of the values, one at least."""
    return max(1, round(share * len(values)))


def is_inside(path, ws):
    """Whether opening this is the app's own business: the workspace, the program, the system's libraries."""
    return not any(part in path for part in ("outside", "secret", "/etc/passwd", ".ssh"))


def refuse(*_, **__):
    raise RunError("Not in this test.")


@pytest.fixture
def watched(full_ws, outside, serve, monkeypatch):
    """A served app in which runs are created but no worker is started; yields it with a caller."""
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    monkeypatch.setattr(memory_fit, "_probe_once", refuse)  # after its checks it would train, which takes minutes here
    for module, name in ((export, "export_checkpoint"), (preview, "lesson")):
        monkeypatch.setattr(module, name, refuse)
    served = serve(full_ws)
    before = {path: path.stat().st_mtime_ns for path in outside.rglob("*")}
    seen.clear()
    is_watching.set()
    yield served, Caller(served.url)
    is_watching.clear()
    files, programs = ([what for kind, what in seen if kind == wanted] for wanted in ("file", "program"))
    assert [path for path in files if not is_inside(path, full_ws)] == []
    assert [program for program in programs if str(outside) in program or "shell=True" in program] == []
    assert {path: path.stat().st_mtime_ns for path in outside.rglob("*")} == before
    assert urllib.request.urlopen(served.url, timeout=240).status == 200
    assert len(stored.read(full_ws, runs.list_all)) >= 6


@pytest.mark.parametrize("share", [0.05, pytest.param(1.0, marks=pytest.mark.slow)])
def test_every_handler_called_raw_answers_or_refuses_and_reads_nothing_outside(
    full_ws, outside, watched, capsys, share
):
    served, caller = watched
    began, numbers = time.monotonic(), itertools.count()
    tab = threading.local()  # Gradio copies the whole app for each session, so a thread keeps its own while it is sound

    def call(fn, data):
        session = tab.session = getattr(tab, "session", None) or f"fuzz{next(numbers)}"
        body = {"fn_index": fn._id, "data": data, "session_hash": session, "event_data": None}
        status, text = caller.send("gradio_api/queue/join", body)
        assert status in (200, 400, 422, 500), (status, text[:300])
        end = outcome(caller, session) if status == 200 else f"{status} at the door"
        if end not in ("answered", "refused"):
            tab.session = None
        return fn._id, end

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda each: call(*each), calls(served, hostile(full_ws, outside), share)))
    handlers, counts = {handler for handler, _ in ends}, Counter(end for _, end in ends)
    with capsys.disabled():
        print(
            f"\n{len(handlers)} handlers, {len(ends):,} raw calls: {dict(counts.most_common())}; "
            f"{len(seen):,} files and programs watched; {time.monotonic() - began:.0f} s"
        )
    assert handlers == {fn._id for fn in served.app.fns.values() if fn.fn is not None}
    assert counts["silent"] == 0
    assert min(counts["answered"], counts["refused"]) > 0.4 * len(handlers)
    assert len({path for kind, path in seen if kind == "file" and str(full_ws.root) in path}) > 3, (
        "the hook sees nothing"
    )


@pytest.mark.parametrize("share", [0.25, pytest.param(1.0, marks=pytest.mark.slow)])
def test_every_server_function_called_raw_answers_a_dict_and_hidden_methods_are_not_found(
    full_ws, outside, watched, capsys, share
):
    served, caller = watched
    values, num, refused = hostile(full_ws, outside), 0, 0
    turns, known = itertools.cycle(values.values()), set()
    for block in served.app.blocks.values():
        is_more = share < 1.0 and type(block) in known  # what is hidden is hidden by a component's class
        known.add(type(block))
        own = {name for name in vars(block) if getattr(vars(block)[name], "_is_server_fn", False)}
        names = ("postprocess", "preprocess", "__init__", "get_config", "fill", "_id", "value", "../x", "")
        hidden = {names[block._id % len(names)]} if is_more else {*names}
        for name in own | hidden:
            sent = itertools.islice(turns, some(values, share)) if name in own else (None, str(outside))
            for value in sent:
                body = {"component_id": block._id, "fn_name": name, "session_hash": "x", "data": value}
                status, text = caller.send("gradio_api/component_server", body)
                num += 1
                if name in own:
                    assert status == 200, (name, value, text[:300])
                    refused += "error" in json.loads(text)
                else:
                    assert status == 404, (name, status, text[:300])
    with capsys.disabled():
        print(f"\n{num:,} calls of server functions and hidden methods: {refused:,} refused in words")
    assert refused > 20


def test_every_route_given_hostile_paths_serves_no_file_of_ours(full_ws, outside, watched, capsys):
    served, caller = watched
    targets = [
        str(outside / "secret.jsonl"),
        "../" * 12 + str(outside / "secret.jsonl")[1:],
        str(full_ws.root / "link.jsonl"),
    ]
    targets += [str(full_ws.database), str(full_ws.database) + "-wal", os.path.relpath(full_ws.database), "/etc/passwd"]
    targets += [str(Path(__file__)), "README.md", f"file://{outside / 'secret.jsonl'}", "%00", "x" * 5000, "C:\\x"]
    statuses = Counter()
    for route in served.app.app.routes:
        assert isinstance(route, Route) or not getattr(route, "path", "").startswith("/gradio_api/vibe")
        if not isinstance(route, Route) or "queue/data" in route.path or "heartbeat" in route.path:
            continue
        places = route.path.count("{")
        for target in targets if places else targets[:1]:
            for spelt in {target, urllib.parse.quote(target, safe=""), target.replace("/", "%2f")}:
                path = route.path
                while "{" in path:
                    path = path[: path.index("{")] + spelt + path[path.index("}") + 1 :]
                for method in route.methods & {"GET", "POST", "HEAD"}:
                    body = {"path": target, "data": [target]} if method == "POST" else None
                    status, text = caller.send(
                        urllib.parse.quote(path.lstrip("/"), safe="/%={}:?&"), body, method=method
                    )
                    assert "SQLite format 3" not in text
                    assert "root:x:" not in text
                    statuses[status] += 1
    with capsys.disabled():
        print(f"\n{sum(statuses.values()):,} requests to routes: {dict(sorted(statuses.items()))}")
    assert statuses[403] + statuses[404] > 20


def test_an_upload_lands_in_the_upload_folder_only_whatever_its_name(full_ws, outside, watched, tmp_path):
    _, caller = watched
    for name in ("../../evil.jsonl", str(outside / "evil.jsonl"), "..\\evil.jsonl", "a/../../evil.jsonl", "x" * 300):
        body = (
            f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: text/plain\r\n\r\nevil\r\n--b--\r\n"
        ).encode()
        status, text = caller.send(
            "gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=b"}, method="POST"
        )
        if status == 200:
            (path,) = json.loads(text)
            assert Path(path).resolve().is_relative_to(Path(os.environ.get("GRADIO_TEMP_DIR", "/tmp/gradio")).resolve())
            Path(path).unlink()
    is_watching.clear()  # what follows looks there itself
    assert not list(outside.glob("evil*"))
    assert not list(tmp_path.glob("evil*"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:PORT"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:PORT"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example:PORT"}, 400),
        ({"Host": "evil.example@127.0.0.1:PORT"}, 400),
        ({"Host": "192.168.1.7:PORT"}, 400),
        ({"Host": "localhost:PORT"}, 200),
        ({"Host": "[::1]:PORT"}, 200),
        ({"Host": "["}, 400),
    ],
)
def test_other_origins_and_other_names_are_refused_on_every_path(plain, headers, status):
    port = str(plain.port)
    sent = {name: value.replace("PORT", port) for name, value in headers.items()}
    for path in ("", "config", "theme.css", "gradio_api/upload_progress?upload_id=x"):
        request = urllib.request.Request(plain.url + path, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                given = answer.status
        except urllib.error.HTTPError as error:
            error.close()
            given = error.code
        if path.startswith("gradio_api"):
            assert (given in (400, 403)) == (status != 200), (path, given)
        else:
            assert given == status, (path, given)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """One server for all of these."""
    from studio.workspace import Workspace
    from tests.ui.conftest import Served

    served = Served(Workspace.open(tmp_path_factory.mktemp("plain") / "studio"))
    yield served
    served.stop()
