"""A studio to look at: workspaces empty and filled, a server in this process, and a real Chromium."""

import asyncio
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.queueing
import gradio.utils
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from studio import fitting
from studio.network import address
from studio.workspace import Workspace
from tests.ui import filling
from ui import app

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
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


class Served:
    """A studio served on a port of its own; can be restarted on it."""

    def __init__(self, ws: Workspace, **settings: Any) -> None:
        self.ws, self.settings = ws, settings
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.app: gr.Blocks = app.build(self.ws, has_password="password" in self.settings)
        self.app.launch(**app.launch_settings(self.ws, address.parse("127.0.0.1", self.port), **self.settings))

    def stop(self) -> None:
        fitting.stop_probe(self.ws)
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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium found (chromium or google-chrome in PATH); .ci/run installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address; at the end no page may have raised an error or asked another machine for anything."""
    faults: list[str] = []
    contexts = []

    def open_page(url: str, width: int = 1280, scheme: str = "light") -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 860}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda r: r.url.startswith((url[:16], "data:", "blob:")) or faults.append(f"asked {r.url}"))
        page.goto(url)
        page.wait_for_selector("#pages [role=tab][aria-selected=true]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gradio's queue uses what pandas 3 deprecates; not ours to fix."""
    for item in items:
        if "tests/ui/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"))
