"""The bell: reports runs that end or need attention, whatever page is open, and in a hidden tab too.

Gradio's timers belong to open pages, so the bell asks for itself (`static/notifications.js`), through a server function.
"""

from functools import partial
from typing import Any

import gradio as gr

from studio.page_reads import Shared
from studio.runs import launcher
from studio.runs import run_pages as shelf
from studio.runs.runs import Run
from studio.workspace import Workspace
from ui import static
from ui.components import html
from ui.handlers import served

SCRIPT = static.read("notifications.js")
NUM_ENDED = 20
_shared = Shared(1.0)
ASK = (
    '<button type="button" class="ask-bell">Notify me when a run ends</button>'
    '<p class="no-bell quiet">The browser does not allow notifications here; a hidden tab shows the news in its title.</p>'
)
"""The button that asks the browser for its permission, and the text shown where it was refused."""


def build(ws: Workspace) -> gr.HTML:
    """Place it, hidden. Its submit event says that a hidden tab is shown again; its value is then the open page."""

    def news(_: Any) -> dict[str, Any]:
        return {"runs": _news(ws)}

    return html.html("", html_template="", js_on_load=SCRIPT, server_functions=[served(news)], elem_id="bell")


def _news(ws: Workspace) -> list[dict[str, str]]:
    """Return name, state and a sentence of every active run, and of those that ended last."""
    return _shared.get(ws, "news", partial(_now, ws))


def _now(ws: Workspace) -> list[dict[str, str]]:
    launcher.reap(ws)
    with ws.read() as db:
        return [_said(run) for run in [*shelf.at_work(db), *shelf.last_ended(db, NUM_ENDED)]]


def _said(run: Run) -> dict[str, str]:
    trouble = launcher.trouble(run)
    state = "needs attention" if trouble else run.state
    return {"name": run.name, "state": state, "said": trouble or run.message or run.progress_text}
