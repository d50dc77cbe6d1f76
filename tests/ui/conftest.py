"""A studio to look at: workspaces empty and filled, a server in this process, and a real Chromium."""

import asyncio
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import gradio as gr
import gradio.queueing
import gradio.utils
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from studio.chat.resident import Resident
from studio.network import address
from studio.runs import memory_fit
from studio.workspace import Workspace
from tests.support import jitter
from tests.ui import filling
from ui import app

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
"""Without a window of its own it opens a page at half the cost."""
PATIENCE_MS = 90_000
"""For machines with much other work; a page that is quick is not slowed by it."""
expect.set_options(timeout=PATIENCE_MS)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(autouse=True, scope="session")
def no_loops_left_open() -> Iterator[None]:
    """Gradio makes an event loop for each lock, which no Python since 3.10 needs, and never closes it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for place, name, plain in (
            (gradio.utils, "safe_get_lock", asyncio.Lock),
            (gradio.utils, "safe_get_stop_event", asyncio.Event),
            (gradio.queueing, "safe_get_lock", asyncio.Lock),
        ):
            monkeypatch.setattr(place, name, plain)
        yield


@pytest.fixture(autouse=True)
def jitter_where_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if longest_s := request.config.getoption("--jitter"):
        jitter.add(monkeypatch, longest_s)


@pytest.fixture(autouse=True)
def files_of_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page may read what a test lays into its folder."""
    monkeypatch.setenv("RLHF_STUDIO_ROOTS", str(tmp_path))


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "studio")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled workspace, made once; tests get copies."""
    root = tmp_path_factory.mktemp("filled") / "studio"
    filling.fill(Workspace.open(root))
    return root


@pytest.fixture
def full_ws(filled: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(shutil.copytree(filled, tmp_path / "studio"))


def free_port(wanted: int = 0) -> int:
    """The wanted port, or where that is taken any other."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        return probe.getsockname()[1]


PORT = free_port()
"""Of one server after the other: for the browser they are one place, whose scripts it has compiled already."""


class Served:
    """A studio served in this process; can be restarted on its port."""

    def __init__(self, ws: Workspace, **settings: Any) -> None:
        self.ws, self.settings = ws, settings
        self.port = free_port(PORT)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.app: gr.Blocks = app.build(self.ws, has_password="password" in self.settings)
        self.app.launch(**app.launch_settings(self.ws, address.parse("127.0.0.1", self.port), **self.settings))

    def stop(self) -> None:
        memory_fit.stop_probe(self.ws)
        try:
            self.app.close(verbose=False)
        except RuntimeError:  # Gradio sets an asyncio.Event from another thread: a waiter may leave meanwhile
            self.app.close(verbose=False)


@pytest.fixture
def serve() -> Iterator[Callable[[Workspace], Served]]:
    served: list[Served] = []

    def start(ws: Workspace, **settings: Any) -> Served:
        served.append(Served(ws, **settings))
        return served[-1]

    yield start
    for each in served:
        each.stop()


@pytest.fixture(autouse=True)
def residents_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process that a served page asked for answers or predictions ends with its test."""
    made: list[Resident] = []

    def make(ws: Workspace) -> Resident:
        made.append(Resident(ws))
        return made[-1]

    monkeypatch.setattr(app, "Resident", make)
    yield
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is in PATH; .ci/run installs the first")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def window(chromium: Browser) -> BrowserContext:
    return chromium.new_context(reduced_motion="reduce")


@pytest.fixture
def visit(window: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Open an address; at the end no page may have raised an error or asked another machine for anything.

    Nothing that a page keeps in the browser is there for the next test, except the scripts.
    """
    faults: list[str] = []
    visited: list[tuple[Page, str]] = []

    def open_page(url: str, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Page:
        page = window.new_page()
        visited.append((page, url))
        page.set_viewport_size({"width": width, "height": 860})
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda r: r.url.startswith((url[:16], "data:", "blob:")) or faults.append(f"asked {r.url}"))
        page.goto(url)
        page.wait_for_selector("#pages [role=tab][aria-selected=true]")
        return page

    yield open_page
    window.set_offline(False)
    window.clear_cookies()
    for page, url in visited:
        kept = {"origin": url[: url.index("/", 8)], "storageTypes": "local_storage,indexeddb,cache_storage"}
        if not page.is_closed():
            window.new_cdp_session(page).send("Storage.clearDataForOrigin", kept)
    for page, _ in visited:
        page.close()
    assert not faults


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gradio's queue uses what pandas 3 deprecates; not ours to fix."""
    for item in items:
        if "tests/ui/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"))
