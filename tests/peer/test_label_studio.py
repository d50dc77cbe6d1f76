"""A real Label Studio server: pairs and rankings pushed, judged by three people and by a click in its page, pulled, and checked.

Label Studio lives in an environment of its own (some 1 GB); its server is started here on this machine only:

    python3.11 -m venv VENV && VENV/bin/pip install label-studio
    RLHF_STUDIO_LABEL_STUDIO=VENV/bin/label-studio pytest -m peer tests/peer/test_label_studio.py

The first start makes a database, which takes minutes. RLHF_STUDIO_LABEL_STUDIO_DATA names a folder to keep it in.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import sync_playwright

from studio.errors import ExchangeError
from studio.exchange.label_studio import pull, push
from studio.exchange.label_studio.client import TOKEN, Server
from studio.workspace import Workspace
from tests.exchange.filling import CHECKPOINT, add_pair, best_first, fill, good_side, note, pairwise, ranked, strength
from tests.support import stored
from tests.ui.conftest import CHROMIUM, FLAGS

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1800)]

LEGACY = "0123456789abcdef0123456789abcdef01234567"
OWNER, PASSWORD = "owner@example.test", "not-a-secret-1"
PEOPLE = ("ann1@rater.test", "ann2@rater.test", "ann3@rater.test")
ENVIRONMENT = {
    "DEBUG": "false",
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_USERNAME": OWNER,
    "LABEL_STUDIO_PASSWORD": PASSWORD,
    "LABEL_STUDIO_USER_TOKEN": LEGACY,
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",  # at the first start, else this token answers 401
}


class Cutting:
    """Stands between the studio and the server, and closes a connection in the middle of a request that it is told of."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.armed: bytes | None = None
        self.is_after = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, text: str, *, after: bool) -> None:
        """Cut the next request that holds this text; with `after`, when the server has answered it."""
        self.armed, self.is_after = text.encode(), after

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.target))
        is_cut = threading.Event()
        back = threading.Thread(target=self._back, args=(server, client, is_cut), daemon=True)
        back.start()
        try:
            while data := client.recv(65536):
                if self.armed and self.armed in data:
                    self.armed = None
                    is_cut.set()
                    if not self.is_after:
                        break
                server.sendall(data)
        except OSError:
            pass
        finally:
            for each in (client, server):
                shut(each)

    def _back(self, server: socket.socket, client: socket.socket, is_cut: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if is_cut.is_set():
                    break
                client.sendall(data)
        except OSError:
            pass
        finally:
            shut(client)


def shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = os.environ.get("RLHF_STUDIO_LABEL_STUDIO", "")
    if not program:
        pytest.skip("Label Studio is not at hand: name its program in RLHF_STUDIO_LABEL_STUDIO.")
    folder = tmp_path_factory.mktemp("label-studio")
    kept = os.environ.get("RLHF_STUDIO_LABEL_STUDIO_DATA")
    if kept and (Path(kept) / "label_studio.sqlite3").exists():
        shutil.copytree(kept, folder, dirs_exist_ok=True)
    port = free_port()
    command = [
        program,
        "start",
        "--no-browser",
        "--internal-host",
        "127.0.0.1",
        "--port",
        str(port),
        "--data-dir",
        str(folder),
    ]
    environment = os.environ | ENVIRONMENT | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
    environment.pop("PYTHONPATH", None)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_up(process, port, folder / "log.txt")
        if kept and not (Path(kept) / "label_studio.sqlite3").exists():
            shutil.copytree(folder, kept, dirs_exist_ok=True)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 900
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])


@pytest.fixture(scope="module")
def people(port: int) -> dict[str, str]:
    """Three people join by the invitation; name -> token."""
    url = f"http://127.0.0.1:{port}"
    invitation = httpx.get(f"{url}/api/invite", headers={"Authorization": f"Token {LEGACY}"}, timeout=60).json()[
        "invite_url"
    ]
    return {name: join(url, invitation, name) for name in PEOPLE}


def join(url: str, invitation: str, name: str) -> str:
    with httpx.Client(base_url=url, timeout=60) as session:
        page = session.get(invitation)
        form = {"email": name, "password": "not-a-secret-2", "csrfmiddlewaretoken": csrf(page.text)}
        form |= {"how_find_us": "Other", "elaborate": "", "allow_newsletters": "false"}
        session.post(invitation, data=form, headers={"Referer": f"{url}{invitation}"})
        if "token" not in (answer := session.get("/api/current-user/token").json()):  # has joined at an earlier start
            page = session.get("/user/login/")
            form = {"email": name, "password": "not-a-secret-2", "csrfmiddlewaretoken": csrf(page.text)}
            session.post("/user/login/", data=form, headers={"Referer": f"{url}/user/login/"})
            answer = session.get("/api/current-user/token").json()
        return answer["token"]


def personal_token(port: int) -> str:
    """A personal access token of the owner, as the page makes one."""
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=60) as session:
        form = {"email": OWNER, "password": PASSWORD, "csrfmiddlewaretoken": csrf(session.get("/user/login/").text)}
        session.post("/user/login/", data=form, headers={"Referer": f"{url}/user/login/"})
        headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": url}
        return session.post("/api/token/", json={}, headers=headers).json()["token"]


def csrf(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found is not None
    return found[1]


class Rater:
    """A person who annotates through the API."""

    def __init__(self, port: int, token: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": f"Token {token}"}

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = httpx.request(method, self.url + path, headers=self.headers, timeout=60, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def annotate(self, task: int, result: list[dict[str, Any]], **more: Any) -> None:
        self.call("POST", f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": 7.25} | more)


def projects(port: int, name: str) -> dict[str, list[dict[str, Any]]]:
    """The tasks of the projects of a push, by kind."""
    with Server(f"http://127.0.0.1:{port}", LEGACY) as server:
        found = {what: server.find_project(push.title(name, what)) for what in ("pairs", "rankings")}
        return {
            what: [task for page in server.pages(project["id"], is_full=True) for task in page]
            for what, project in found.items()
            if project
        }


def test_pairs_and_rankings_go_to_three_people_and_every_judgement_comes_back(port, people, tmp_path, monkeypatch):
    ws = Workspace.open(tmp_path / "workspace")
    fill(ws, 30, 10)
    monkeypatch.setenv(TOKEN, LEGACY)
    monkeypatch.setattr(push, "BATCH", 10)
    monkeypatch.setattr("studio.exchange.label_studio.client.PAGE_SIZE", 12)
    name = f"Round {time.time_ns()}"
    between = Cutting(port)

    # Cut in the second batch, once before and once after it arrived; then pushed to the end.
    for after in (False, True):
        with Server(between.url) as server:
            between.cut("/import", after=after)
            with pytest.raises(ExchangeError, match="goes on where it was"):
                push.push(ws, server, name)
    with Server(between.url) as server:
        pushed = {each.what: each for each in push.push(ws, server, name)}
    assert pushed["pairs"].num_new + pushed["pairs"].num_there == 30
    assert pushed["pairs"].num_there == 10  # the batch whose answer was lost
    assert pushed["rankings"].num_new == 10
    tasks = projects(port, name)
    assert (len(tasks["pairs"]), len(tasks["rankings"])) == (30, 10)
    assert len({task["data"]["rlhf_studio_comparison"] for task in tasks["pairs"]}) == 30
    assert CHECKPOINT not in str(tasks)

    # Three people: the first is right, the second too but says how much, the third is wrong, and skips and ties.
    raters = {name: Rater(port, token) for name, token in people.items()}
    one, two, three = (raters[name] for name in PEOPLE)
    wanted: dict[tuple[str, str], tuple[Any, ...]] = {}
    for number, task in enumerate(tasks["pairs"]):
        key, good = task["data"]["rlhf_studio_comparison"], good_side(task["data"])
        bad = "left" if good == "right" else "right"
        one.annotate(task["id"], [pairwise(good)], lead_time=2.5)
        two.annotate(task["id"], [pairwise(good), strength("much better"), note("sûr")])
        wanted[key, PEOPLE[0]], wanted[key, PEOPLE[1]] = ("good", None, None, 2500), ("good", 3, "sûr", 7250)
        if number == 0:
            three.annotate(task["id"], [pairwise(bad)], was_cancelled=True)
            wanted[key, PEOPLE[2]] = ("skip", None, None, None)
        elif number in (1, 2):
            three.annotate(task["id"], [strength("tie" if number == 1 else "both bad")])
            wanted[key, PEOPLE[2]] = ("tie" if number == 1 else "both_bad", None, None, 7250)
        else:
            three.annotate(task["id"], [pairwise(bad), strength("slightly better")])
            wanted[key, PEOPLE[2]] = ("bad ", 1, None, 7250)
    for task in tasks["rankings"]:
        two.annotate(task["id"], [ranked(best_first(task["data"]))])

    # Pulled with a cut half-way: every judgement once.
    with Server(between.url) as server:
        between.cut("page=2", after=True)
        with pytest.raises(ExchangeError):
            pull.pull(ws, server, name)
        some = len(stored.preferences(ws))
        assert 0 < some < 90
        told = {each.title.partition(": ")[2]: each for each in pull.pull(ws, server, name)}
    assert told["pairs"].counts["new"] + told["pairs"].counts["known"] == 90
    assert told["pairs"].counts["known"] == some
    assert told["rankings"].counts["new"] == 10
    assert judged(ws, wanted) == wanted
    rankings = [row for row in stored.preferences(ws) if row["outcome"] == "ranking"]
    assert [place(row) for row in rankings] == [["1", "2", "3"]] * 10
    assert {row["rater"] for row in rankings} == {PEOPLE[1]}

    # Nothing is new; then a correction, a deletion, and one more pair.
    personal = personal_token(port)
    monkeypatch.setenv(TOKEN, personal)
    with Server(between.url) as server:
        assert pull.pull(ws, server, name)[0].counts["known"] == 90
        correct(one, tasks["pairs"][5], two)
        told_pairs = pull.pull(ws, server, name)[0]
        assert (told_pairs.counts["corrected"], told_pairs.counts["taken back"]) == (1, 1)
        add_pair(ws, "One more?")
        assert push.push(ws, server, name, ["pairs"])[0].num_new == 1
    assert len(projects(port, name)["pairs"]) == 31
    between.close()


def test_a_click_in_label_studios_own_page_comes_back(port, tmp_path, monkeypatch):
    ws = Workspace.open(tmp_path / "workspace")
    fill(ws, 2)
    monkeypatch.setenv(TOKEN, LEGACY)
    name, url = f"Clicks {time.time_ns()}", f"http://127.0.0.1:{port}"
    with Server(url) as server:
        push.push(ws, server, name)
    task = projects(port, name)["pairs"][1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.route(
            lambda address: not address.startswith(url), lambda route: route.abort()
        )  # nothing leaves this machine
        page.goto(f"{url}/user/login/")
        page.locator("input[name=email]").fill(OWNER)
        page.locator("input[name=password]").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(lambda address: "login" not in address)
        page.goto(f"{url}/projects/{task['project']}/data?task={task['id']}")
        shown = page.locator(".lsf-main-view")
        heads = shown.get_by_role("heading").filter(has_text=re.compile("^Answer"))
        shown.get_by_text("good answer 1").click()
        assert heads.all_inner_texts() == ["Answer 1", "Answer 2"], "which lines are of which answer can be seen"
        page.get_by_label("much better").check()
        page.get_by_role("button", name="Submit current annotation").click()
        page.get_by_text("Annotation saved successfully", exact=True).wait_for()
        browser.close()
    with Server(url) as server:
        assert pull.pull(ws, server, name)[0].counts == {"new": 1}
    (row,) = stored.preferences(ws)
    assert row["outcome"] == good_side(task["data"])
    assert row[row["outcome"]].startswith("good answer 1")
    assert (row["rater"], row["strength"]) == (OWNER, 3)
    assert row["elapsed_ms"] > 0


def judged(ws: Workspace, wanted: dict[tuple[str, str], tuple[Any, ...]]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What the workspace holds of the pairs, keyed and shaped as what was wanted."""
    names = {int(key.rpartition("-")[2]): key for key, _ in wanted}
    found = {}
    for row in stored.preferences(ws):
        if row["outcome"] == "ranking":
            continue
        verdict = row[row["outcome"]][:4] if row["outcome"] in ("left", "right") else row["outcome"]
        found[names[row["comparison_id"]], row["rater"]] = (verdict, row["strength"], row["note"], row["elapsed_ms"])
    return found


def place(row: dict[str, Any]) -> list[str]:
    return [text[0] for _, text in sorted(zip(row["ranks"], row["texts"], strict=True))]


def correct(one: Rater, task: dict[str, Any], two: Rater) -> None:
    """The second person makes a tie of the first one's answer, and takes back an own one."""
    found = one.call("GET", f"/api/tasks/{task['id']}/annotations/")
    first, second, _ = sorted(annotation["id"] for annotation in found)
    two.call("PATCH", f"/api/annotations/{first}/", json={"result": [strength("tie")]})
    two.call("DELETE", f"/api/annotations/{second}/")
