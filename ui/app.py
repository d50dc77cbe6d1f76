"""The studio in the browser: nine pages in one Gradio app, opened by `launch`.

The address names the open page (`#runs/reward-2`), so links, reload and the back button work; all else that matters
is in the workspace, so closing the tab or the server loses nothing. This process never imports torch: training and
generation are child processes.
"""

import json
import os
import shutil
import subprocess
import webbrowser
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from modules.config import STAGES
from studio import servers
from studio.annotation import predictions
from studio.chat.resident import Resident
from studio.errors import ConfigError
from studio.network import address, proxies
from studio.network.address import Address
from studio.network.guard import Guard
from studio.workspace import Workspace
from ui import file_access
from ui.components import html, notifications, typed
from ui.components.theme import HEAD, theme
from ui.handlers import any_of, on
from ui.page import Page
from ui.pages.chat import page as chat
from ui.pages.data import page as data
from ui.pages.evaluate import page as evaluate
from ui.pages.home import page as home
from ui.pages.insights import page as insights
from ui.pages.models import page as models
from ui.pages.rate import page as rate_tabs
from ui.pages.runs import page as runs_page
from ui.pages.train import page as train
from ui.server import login, rest, uploads
from ui.server.routes import Routes
from ui.server.sessions import KeepSessions

TITLES = {
    "home": "Home",
    "data": "Data",
    "rate": "Rate",
    "train": "Train",
    "runs": "Runs",
    "evaluate": "Evaluate",
    "insights": "Insights",
    "chat": "Chat",
    "models": "Models",
}
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
    "msedge",
)
# After each event Gradio 6.31 computes unused statistics on all before it: they took 62 of the 104 s of 770 events.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
FOLLOW = """
let newest = 0;
const follow = async (event) => {
  const turn = ++newest;
  window.studio.follows();
  // Not asked of the browser again: what is followed late writes its own address meanwhile.
  const address = window.studio.address(event && new URL(event.newURL).hash);
  window.studio.visited.add(address);
  await window.studio.paint?.(address);
  if (turn !== newest) return;
  if (window.studio.isOvertaken()) return window.studio.arrived();
  props.value = address;
  trigger("submit");
};
window.addEventListener("hashchange", follow);
follow();
"""


def build(ws: Workspace, has_password: bool = False) -> gr.Blocks:
    """Build the whole app on a workspace; with a password, its masthead has a button that logs out."""
    uploads.folder()
    with gr.Blocks(title="RLHF Studio", analytics_enabled=False, fill_width=True) as app:
        html.html(_masthead(ws, has_password), elem_id="masthead")
        # An empty template: the address comes from outside and must not be drawn.
        address = html.html("home", html_template="", js_on_load=FOLLOW, elem_id="address")
        shown_again = notifications.build(ws)
        with gr.Tabs(selected="home", overflow_behavior="wrap", elem_id="pages") as tabs:
            pages, opened = _pages(ws, tabs)
        items = [page.item for page in pages.values() if page.item is not None]
        followed = on(address.submit, _follow, [address], [tabs, *items], trigger_mode="always_last")
        followed.then(None, None, None, js="() => { window.studio.followed?.(); window.studio.arrived(); }")
        _keep_fresh(pages, opened)
        _catch_up(pages, shown_again)
    rest.calm(app)
    return app


def launch(
    ws: Workspace,
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str | None = None,
    inbrowser: bool = True,
    is_window: bool = False,
    roots: Sequence[str] = (),
    names: Sequence[str] = (),
    max_upload: str = uploads.DEFAULT,
) -> None:
    """Serve the studio until it is interrupted.

    Args:
        ws: the workspace.
        host: where to listen; other machines can reach anything but a loopback address, and need a password.
        port: a free one.
        password: asked for before anything is shown.
        inbrowser: open a tab.
        is_window: open a window without tabs instead, where a Chromium-family browser is installed.
        roots: folders whose files the page may read, besides the workspace.
        names: further names under which a proxy or a DNS entry leads here.
        max_upload: the largest file that may be uploaded, such as 500MB.

    Raises:
        ConfigError: an open host without a password, an invalid address, port or name, or a port that is taken.
    """
    at = address.parse(host, port)
    if not at.is_loopback and not password:
        raise ConfigError(
            f"On {host} other machines can reach the studio. Set RLHF_STUDIO_PASSWORD (or --password), or leave out --host."
        )
    known_as = [address.name(each) for each in names]
    if known_as and not password:
        raise ConfigError(
            f"Under {known_as[0]} others can reach the studio. Set RLHF_STUDIO_PASSWORD (or --password), or leave out --name."
        )
    file_access.allow(roots)
    address.check_free(at)
    app = build(ws, has_password=password is not None)
    settings = launch_settings(ws, at, password, known_as, uploads.size(max_upload))
    try:
        with proxies.set_aside():
            app.launch(**settings)
    except OSError as error:  # taken since it was checked, or by something that only Gradio checks
        raise ConfigError(f"Port {port} of {host} cannot be used. Choose another with --port.") from error
    _say(ws, at)
    if inbrowser or is_window:
        open_page(at.url, is_window)
    app.block_thread()


def launch_settings(
    ws: Workspace,
    at: Address,
    password: str | None = None,
    names: Sequence[str] = (),
    max_upload: int = uploads.size(uploads.DEFAULT),
) -> dict[str, Any]:
    """Return the arguments of `Blocks.launch`; the middleware in the order in which a request meets it."""
    return {
        "server_name": at.server_name,
        "server_port": at.port,
        "app_kwargs": {
            "middleware": [
                Middleware(Guard, address=at, names=names),
                Middleware(Routes),
                Middleware(login.Login, password=password, port=at.port),
                Middleware(uploads.LimitUploads, max_bytes=max_upload),
                Middleware(KeepSessions),
                Middleware(rest.Rest, shown={home.FIRST: partial(home.first, ws)}),
            ]
        },
        "blocked_paths": [str(ws.root)],
        "max_file_size": max_upload,
        "share": False,
        "_frontend": False,  # no check of its own page, for which a busy machine may need more than its three seconds
        "theme": theme(),
        "head": HEAD,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "pwa": False,
        "ssr_mode": False,
        "inbrowser": False,
        "prevent_thread_lock": True,
        "quiet": True,
    }


def _say(ws: Workspace, at: Address) -> None:
    """Print where the studio is, and what a person should know of it."""
    if not at.is_loopback:
        print(
            "Other machines can reach it: it asks for the password. Traffic is not encrypted; an SSH tunnel is.",
            flush=True,
        )
    if said := proxies.sentence():
        print(said, flush=True)
    print(f"RLHF Studio is at {at.url}  (workspace {ws.root}; stop with Ctrl-C, runs keep going)", flush=True)
    if others := servers.announce(ws, at.url):
        print(
            f"This workspace is also open at {' and '.join(others)}. Both can be used: they share runs, queue and sessions, and a pair "
            "rated in one is not shown again in the other.",
            flush=True,
        )


def builders(ws: Workspace, tabs: gr.Tabs, run_chosen: gr.Textbox) -> dict[str, Callable[[], Page]]:
    """Return what places each page; `tabs` and `run_chosen` are shared by pages that open another."""
    answers = Resident(ws)  # one process for all pages that ask a model
    predictions.ask_resident(ws, lambda: answers.predict if answers.is_idle else None)
    return {
        "home": partial(home.build, ws),
        "data": partial(data.build, ws),
        "rate": partial(rate_tabs.build, ws),
        "train": partial(train.build, ws, tabs, run_chosen),
        "runs": partial(runs_page.build, ws, run_chosen, answers),
        "evaluate": partial(evaluate.build, ws, tabs, run_chosen),
        "insights": partial(insights.build, ws),
        "chat": partial(chat.build, ws, answers),
        "models": partial(models.build, ws, answers),
    }


def _pages(ws: Workspace, tabs: gr.Tabs) -> tuple[dict[str, Page], dict[str, gr.Tab]]:
    """Place all pages in their tabs."""
    run_chosen = gr.Textbox("", visible=False, render=False)  # shared: a run started on Train is opened on Runs
    pages: dict[str, Page] = {}
    opened: dict[str, gr.Tab] = {}
    for name, build_page in builders(ws, tabs, run_chosen).items():
        with gr.Tab(TITLES[name], id=name, elem_id=f"page-{name}") as opened[name]:
            pages[name] = build_page()
    return pages, opened


def _keep_fresh(pages: dict[str, Page], opened: dict[str, gr.Tab]) -> None:
    """Update a page when it is opened, and a live page while it is open; closed pages do nothing."""
    timers = {name: page.timer for name, page in pages.items() if page.timer is not None}
    for name, page in pages.items():
        opened[name].select(None, None, list(timers.values()), js=_opened(name, list(timers)))
        if page.outputs:
            shown = on(opened[name].select, page.refresh, page.inputs, page.outputs)
            if page.typed:
                typed.restore(shown, page.typed)
        if page.pulse is not None:
            on(page.pulse.submit, page.refresh, page.inputs, page.outputs, trigger_mode="always_last")
    for name, timer in timers.items():
        page = pages[name]
        on(timer.tick, *(page.live or (page.refresh, page.inputs, page.outputs)))


def _catch_up(pages: dict[str, Page], shown_again: gr.HTML) -> None:
    """Update a live page at once when its hidden tab is shown again: timers may have slept meanwhile."""
    for name, page in pages.items():
        if page.timer is not None or page.pulse is not None:
            inputs = [shown_again, *page.inputs]
            on(any_of([shown_again], "submit"), partial(_if_open, name, page), inputs, page.outputs)


def _if_open(name: str, page: Page, opened: str, *values: Any) -> Any:
    return page.refresh(*values) if opened == name else [gr.skip()] * len(page.outputs)


def _opened(name: str, live: list[str]) -> str:
    """Return the script that starts the timer of an opened page and stops the others.

    The browser does it, in the order of the clicks: an answer of the server for the page before can come late, and would stop
    the timer of the open one.
    """
    timers = json.dumps([{"__type__": "update", "active": each == name} for each in live])
    return f"() => {{ window.studio.opened('{name}'); return {timers}; }}"


def _follow(address: str) -> list[Any]:
    """Open the page that the address names, with its stage (Train), run (Runs) or two checkpoints (Evaluate)."""
    page, _, item = (address or "").partition("/")
    stage = item if page == "train" and item in STAGES else gr.skip()
    run = item if page == "runs" and item else gr.skip()
    versus = item if page == "evaluate" and item else gr.skip()
    return [gr.Tabs(selected=page if page in TITLES else "home"), stage, run, versus]


def _masthead(ws: Workspace, has_password: bool) -> str:
    mark = (
        '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4a8 8 0 1 1-7.2 4.5" fill="none" stroke-width="2.4" '
        'stroke-linecap="round"/><circle cx="6.2" cy="5.8" r="2.4"/></svg>'
    )
    leave = (
        '<form class="leave" method="post" action="logout"><button type="submit" class="theme" aria-label="Log out" title="Log out">'
        '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9 2H3v12h6M7 8h7M11 5l3 3-3 3" fill="none"/></svg></button></form>'
        if has_password
        else ""
    )
    return (
        f'<div class="masthead"><a class="mark" href="#home">{mark}<h1>RLHF Studio</h1></a>'
        f'<span class="where" title="{escape(str(ws.root))}">{escape(ws.root.name)}</span>'
        '<button type="button" class="theme" onclick="window.studio.toggleTheme()" aria-label="Light or dark" '
        'title="Light or dark"><svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6" fill="none"/>'
        '<path d="M8 2a6 6 0 0 1 0 12Z"/></svg></button>'
        f"{leave}</div>"
    )


def open_page(url: str, is_window: bool) -> None:
    """Open the page in its own window where that is wanted and possible, else in a tab."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None) if is_window else None
    if browser:
        subprocess.Popen(
            [browser, f"--app={url}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    else:
        webbrowser.open(url)
