"""Between the network and Gradio: names, routes, the password, sessions and uploads. Asked as a stranger would, without a browser."""

import os
import re
import time

import httpx
import pytest
from gradio.routes import App

from modules.config import SFTConfig
from studio.errors import ConfigError, DataError
from studio.network import address
from studio.workspace import Workspace
from tests.ui import filling
from tests.ui.conftest import Served
from ui import app
from ui.pages.data import import_card
from ui.pages.home import page as home
from ui.server import brake, login, rest, sessions, uploads

PASSWORD = "correct-horse-é"
FIVE_MIB = 5 * 2**20


def asked(served: Served, **options) -> httpx.Client:
    return httpx.Client(base_url=served.url, trust_env=False, timeout=30, **options)


def log_in(client: httpx.Client, password: str) -> httpx.Response:
    return client.post("/login", data={"password": password})


# Names and proxies.


ASKED = [
    ("HERE", None, 200),
    ("HERE", "http://HERE", 200),
    ("localhost:PORT", "http://localhost:PORT", 200),
    ("[::1]:PORT", "http://[::1]:PORT", 200),
    ("studio.example", "https://studio.example", 200),
    ("studio.example:443", "https://studio.example", 200),  # as nginx sends it with $host:$server_port
    ("STUDIO.example.", None, 200),
    ("HERE", "http://localhost:PORT", 403),
    ("HERE", "http://evil.example", 403),
    ("HERE", "null", 403),
    ("studio.example", "http://studio.example:444", 403),
    ("evil.example", None, 400),
    ("evil.example:PORT", "http://evil.example:PORT", 400),
    ("studio.example.evil.example", None, 400),
    ("a@studio.example", None, 400),
    ("studio.example:port", None, 400),
    ("", None, 400),
]
"""Host and Origin of a request, and how it is answered."""


def test_only_its_own_names_and_origins_are_answered(ws, serve):
    served = serve(ws, names=["studio.example"])

    def filled(text: str) -> str:
        return text.replace("HERE", f"127.0.0.1:{served.port}").replace("PORT", str(served.port))

    with asked(served) as client:
        for host, origin, status in ASKED:
            headers = {"Host": filled(host)} | ({"Origin": filled(origin)} if origin else {})
            assert client.get("/theme.css", headers=headers).status_code == status, (host, origin)


def test_behind_a_proxy_that_changes_the_host_page_and_terminal_say_what_it_must_send(ws, serve, caplog):
    served = serve(ws)
    with asked(served) as client:
        for host in ("localhost", "127.0.0.1:9999"):  # without the port, and that of its target
            caplog.clear()
            headers = {"Host": host, "Origin": "http://localhost:8443", "Sec-Fetch-Site": "same-origin"}
            page = client.get("/", headers={"Host": host})
            assert f'const came = "{host}"' in page.text  # the script compares it with where the browser went
            assert "proxy_set_header Host $http_host" in page.text
            refused = [client.get("/assets/index.js", headers=headers) for _ in range(3)]
            assert {answer.status_code for answer in refused} == {403}
            assert "proxy_set_header Host $http_host" in refused[0].text
            assert caplog.text.count("proxy_set_header Host $http_host") == 1  # said once


def test_a_name_that_is_not_its_own_is_told_of_name_and_cannot_write_into_the_page(ws, serve, caplog):
    served = serve(ws)
    with asked(served) as client:
        answer = client.get("/", headers={"Host": "gpu-box.lan:8443"})
        odd = client.get("/", headers={"Host": "</script><script>alert(1)"})
    assert (answer.status_code, odd.status_code) == (400, 400)
    assert "--name gpu-box.lan" in answer.text
    assert "<" not in odd.text
    assert "--name gpu-box.lan" in caplog.text


@pytest.mark.browser
def test_a_page_behind_such_a_proxy_is_not_blank(ws, serve, chromium):
    served = serve(ws)
    page = chromium.new_page()
    page.route("**/*", lambda route: route.fulfill(response=through_a_proxy(route, served)))
    page.goto("http://localhost:8443/")
    page.wait_for_selector("#behind-a-proxy")
    assert "opened at localhost:8443" in page.inner_text("#behind-a-proxy")
    assert f"127.0.0.1:{served.port}" in page.inner_text("#behind-a-proxy")
    page.close()


def through_a_proxy(route, served):
    target = served.url + route.request.url.partition("8443/")[2]
    return route.fetch(url=target, headers=route.request.headers | {"host": f"127.0.0.1:{served.port}"})


# Routes.


def test_home_comes_with_the_page_as_it_is_when_it_is_asked_for(ws, serve, monkeypatch):
    served = serve(ws)

    def page() -> str:
        return httpx.get(served.url).text

    assert "Choose your own model" in page()
    filling.add_texts(ws, 7)
    sent = page()
    assert re.search(r'\\u003cb class=\\"num\\"\\u003e7\\u003c/b', sent), "the count of now, not that of the start"
    assert home.FIRST not in sent
    filling.add_run(ws, SFTConfig(), "running", text="</script><script>window.hacked = 1</script>")
    assert "<script>window.hacked" not in page()

    def broken(_: Workspace) -> str:
        raise DataError("The disk is away.")

    monkeypatch.setattr(home, "_shown", broken)
    assert "gradio_config" in page(), "the page itself says what is wrong"


def test_every_route_of_gradio_that_the_page_does_not_use_is_closed(ws, serve):
    """A list of what is open: a release of Gradio that brings more routes opens none."""
    served = serve(ws)
    wanted = {
        "/", "/config", "/config/", "/theme.css", "/favicon.ico", "/static/{path:path}", "/assets/{path:path}",
        *("/gradio_api/" + name for name in (
            "queue/join", "queue/data", "heartbeat/{session_hash}", "component_server", "component_server/", "upload",
            "upload_progress", "info", "info/", "app_id", "app_id/", "cancel", "reset", "reset/")),
    }  # fmt: skip
    odd = ["/robots.txt", "/gradio_api/startup-events", "/gradio_api/vibe-edit", "/gradio_api/vibe-code/", "/docs", "/openapi.json",
           "/gradio_api/file=/etc/passwd", "/config/../openapi.json", "/assets/../../openapi.json", "/gradio_api/openapi.json",
           "/monitoring", "/gradio_api/token", "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/run/predict"]  # fmt: skip
    known = {path for route in _leaves(served.app.app.routes) if (path := getattr(route, "path", None))}
    assert len(known) > 40
    with asked(served) as client:
        for path in [*sorted(known - wanted), *odd]:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
                answer = client.request(method, path.replace("{", "").replace("}", "").replace(":path", ""))
                is_login = path.strip("/") in ("login", "logout") and method == "POST"
                assert is_login or answer.status_code == 404, (method, path)


def _leaves(routes):
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None) or getattr(route, "routes", None)
        yield from _leaves(inner) if inner else [route]


# The password.


def test_without_the_password_there_is_the_login_page_and_nothing_else(ws, serve):
    served = serve(ws, password=PASSWORD)
    assert isinstance(served.app.app, App)
    with asked(served) as client:
        page = client.get("/")
        assert (page.status_code, "gradio" in page.text.lower()) == (401, False)
        for path in ("config", "theme.css", "favicon.ico", "assets/x.js", "static/x", "openapi.json", "robots.txt", "nothing",
                     "gradio_api/startup-events", "gradio_api/info", "gradio_api/heartbeat/x", "gradio_api/queue/data?session_hash=x"):  # fmt: skip
            assert client.get(f"/{path}").status_code in (401, 404), path
        for path in ("queue/join", "component_server", "upload", "cancel", "reset", "vibe-edit"):
            assert client.post(f"/gradio_api/{path}", json={}).status_code in (401, 404), path


def test_the_right_password_opens_and_the_pages_own_button_closes_this_browser_only(ws, serve):
    served = serve(ws, password=PASSWORD)
    with asked(served) as one, asked(served) as other:
        for client in (one, other):
            assert log_in(client, "correct-horse-e\u0301").status_code == 303  # é as two signs, as a Mac types it
            assert client.get("/config").status_code == 200
        assert 'action="logout"' in str(one.get("/config").json()["components"])
        for headers in ({}, {"Origin": "http://evil.example"},
                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "null"},
                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}):  # fmt: skip
            assert one.post("/logout", headers=headers).status_code == 403
            assert one.get("/logout", headers=headers).status_code in (403, 404)
        assert one.get("/config").status_code == 200
        assert one.post("/logout", headers={"Origin": served.url.rstrip("/")}).status_code == 303
        assert (one.get("/config").status_code, other.get("/config").status_code) == (401, 200)


SENT = [
    b"password=%ED%B3%BF",  # a lone surrogate
    b"password=%00",
    b"password=%FF",
    b"password=\xff\xfe",
    b"",
    b"password",
    b"%",
    b"password=" + b"x" * 10**5,
]


def test_whatever_is_sent_as_a_password_is_answered_as_a_wrong_one(ws, serve, monkeypatch):
    monkeypatch.setattr(brake, "DELAYS_S", (0.0,))
    served = serve(ws, password=PASSWORD)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with asked(served) as client:
        for sent in SENT:
            assert client.post("/login", content=sent, headers=headers).status_code in (401, 413), sent[:20]
        assert log_in(client, PASSWORD).status_code == 303


@pytest.mark.parametrize("password", ["\udcff", "", "a\nb", "x" * 2000], ids=["surrogate", "empty", "break", "long"])
def test_a_password_that_no_browser_can_send_is_refused_at_the_start(password):
    with pytest.raises(ConfigError, match="Choose"):
        login.check(password)


def test_ten_wrong_passwords_lock_and_then_the_right_one_is_not_heard_either(ws, serve, monkeypatch):
    monkeypatch.setattr(brake, "DELAYS_S", (0.0,))
    served = serve(ws, password=PASSWORD)
    with asked(served) as client, asked(served) as inside:
        assert log_in(inside, PASSWORD).status_code == 303
        answers = [log_in(client, f"wrong-{n}") for n in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 9 + [429] * 3
        assert "1 more try" in answers[8].text
        assert 0 < int(answers[-1].headers["retry-after"]) <= brake.LOCK_S + 1
        assert log_in(client, PASSWORD).status_code == 429
        assert inside.get("/config").status_code == 200  # who is in stays in


def test_the_brake_counts_by_place_and_in_all_delays_and_forgets_in_bounded_memory():
    now = [0.0]
    counts = brake.Brake(lambda: now[0])
    delays = [counts.wrong("192.0.2.1") for _ in range(9)]
    assert delays == sorted(delays)
    assert delays[-1] == 1.0
    assert counts.wait_s("192.0.2.1") == 0
    counts.wrong("192.0.2.1")
    assert counts.wait_s("192.0.2.1") == brake.LOCK_S
    assert counts.wait_s("192.0.2.2") == 0
    for n in range(10):
        counts.wrong(f"2001:db8::{n:x}")  # one network
    assert counts.wait_s("2001:db8::ffff") == brake.LOCK_S
    now[0] += brake.LOCK_S
    assert counts.wait_s("192.0.2.1") == 0
    now[0] += brake.FORGET_S
    for n in range(99):
        counts.wrong(f"198.51.100.{n}")
    assert counts.wait_s("203.0.113.1") == 0
    counts.wrong("198.51.100.200")
    assert counts.wait_s("203.0.113.1") == brake.LOCK_S  # in all
    for n in range(3 * brake.MAX_PLACES):
        counts.wrong(f"10.0.{n // 256}.{n % 256}")
    assert len(counts._places) == brake.MAX_PLACES


# Sessions and rest.


def test_a_day_of_reloading_keeps_few_sessions_and_a_small_one_each(ws, serve, monkeypatch):
    monkeypatch.setattr(sessions, "KEEP_CLOSED", 3)
    served = serve(ws)
    kept = served.app.app.state_holder
    with asked(served) as client, client.stream("GET", "/gradio_api/heartbeat/open") as stream:
        beats = stream.iter_bytes()  # kept: without it the stream would be closed
        next(beats)
        for name in ("open", *(f"closed-{n}" for n in range(12))):
            answer = client.post("/gradio_api/component_server", json=_news(served) | {"session_hash": name})
            assert answer.status_code == 200
        assert set(kept.session_data) == {"open", "closed-8", "closed-9", "closed-10", "closed-11"}
    assert not any(dict(each.config_values) for each in kept.session_data.values())


def _news(served) -> dict:
    bell = next(block for block in served.app.blocks.values() if block.elem_id == "bell")
    return {"component_id": bell._id, "fn_name": "news", "data": None}


def test_sessions_that_were_closed_go_after_a_while_and_open_ones_stay(ws, serve):
    now = [0.0]
    kept = sessions.Sessions(lambda: now[0])
    kept.set_blocks(serve(ws).app)
    kept.opened("open"), kept.opened("twice"), kept.opened("twice")
    for name in ("open", "twice", "shut"):
        _ = kept[name]
    kept.closed("twice")
    now[0] += sessions.KEEP_S + 1
    _ = kept["new"]
    assert set(kept.session_data) == {"open", "twice", "new"}
    kept.closed("twice")
    now[0] += sessions.KEEP_S + 1
    _ = kept["newer"]
    assert set(kept.session_data) == {"open", "newer"}


def test_an_idle_server_looks_for_work_ten_times_a_second_not_a_thousand_times(ws, serve):
    queue = serve(ws).app._queue
    assert isinstance(queue, rest.RestingQueue)
    queue._busy_at = time.monotonic()
    assert queue.sleep_when_free < 0.01
    queue._busy_at -= 60
    assert queue.sleep_when_free == rest.LONGEST_S
    assert queue.progress_update_sleep_when_free >= 0.1


# Uploads.


def upload(client: httpx.Client, content: bytes, name: str = "prompts.jsonl") -> httpx.Response:
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def test_an_upload_goes_after_its_import_and_nobody_elses_file_does(ws, serve, tmp_path):
    rows = b'{"prompt": "What is a star?"}\n'
    with asked(serve(ws)) as client:
        [path] = upload(client, rows).json()
    assert path.startswith(str(uploads.folder()))
    own = tmp_path / "own.jsonl"
    own.write_bytes(rows)
    for source in (path, str(own)):
        told = import_card._take(ws, lambda *_: None, source, "auto", "", "", "", "", *[""] * len(import_card.MAPPED))[
            0
        ]
        assert "is-good" in told, told
    assert not (uploads.folder() / path).exists()
    assert own.exists()


def test_an_upload_that_was_not_imported_goes_after_a_day(ws, serve):
    with asked(serve(ws)) as client:
        [old] = upload(client, b"old").json()
        made = (uploads.folder() / old).parent
        past = time.time() - uploads.KEEP_S - 1
        os.utime(made, (past, past))
        [new] = upload(client, b"new").json()
    assert not made.exists()
    assert (uploads.folder() / new).exists()


def test_a_file_that_is_too_large_is_refused_with_the_other_ways(ws, serve):
    def chunks():
        for _ in range(8):
            yield b"x" * 2**20

    served = serve(ws, max_upload=FIVE_MIB)
    before = set(uploads.folder().iterdir())
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    with asked(served) as client:
        declared = upload(client, b"x" * (FIVE_MIB + 70_000))
        by_gradio = upload(client, b"x" * (FIVE_MIB + 1000))
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        hidden = client.post("/gradio_api/upload", content=(part for part in (head, *chunks())), headers=headers)
        assert upload(client, b"x" * 1000).status_code == 200
    for answer in (declared, by_gradio, hidden):
        assert answer.status_code == 413
        assert "5 MiB" in answer.text
        assert "--max-upload" in answer.text
    left = set(uploads.folder().iterdir()) - before
    assert sum(each.is_dir() for each in left) == 1
    past = time.time() - uploads.KEEP_PART_S - 1
    for each in left:
        os.utime(each, (past, past))
    uploads.sweep()
    assert [each for each in left if each.exists()] == [
        each for each in left if each.is_dir()
    ]  # half an upload goes sooner


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500 * 2**20), ("2 GiB", 2**31), ("1.5g", 3 * 2**29), ("1000", 1000)]
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert uploads.size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1MB", "big", "1XB", "1e99"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="--max-upload"):
        uploads.size(text)


def test_a_name_without_a_password_is_refused(ws):
    with pytest.raises(ConfigError, match="--password"):
        app.launch(ws, names=["studio.example"], inbrowser=False)
    assert address.parse("127.0.0.1", 7860).is_loopback
