"""The rooms of the Rate page: the pairs themselves, the session, the history of all ratings, the snapshots made of them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from studio.workspace import Workspace
from ui.components import typed
from ui.handlers import on
from ui.page import Page
from ui.pages.rate import history, snapshots
from ui.pages.rate import pairs as rate
from ui.pages.rate import session as rate_session

REFRESH_S = 3.0
ROOMS = {"Session": rate_session.build, "History": history.build, "Snapshots": snapshots.build}


def build(ws: Workspace) -> Page:
    """Place the page; each room is updated when it is opened, and the session's keeps updating."""
    pages: dict[str, Page] = {}
    room = gr.State("Pairs")
    with gr.Tabs(elem_classes="sub", elem_id="rate-tabs"):
        with gr.Tab("Pairs", elem_id="rate-pairs") as pairs:
            rate.build(ws)
        on(pairs.select, lambda: "Pairs", None, [room])
        for title, build_room in ROOMS.items():
            with gr.Tab(title, elem_id=f"rate-{title.lower()}") as tab:
                pages[title] = page = build_room(ws)
            shown = on(tab.select, page.refresh, page.inputs, page.outputs)
            if page.typed:
                typed.restore(shown, page.typed)
            on(tab.select, partial(str, title), None, [room])
    session = pages["Session"]
    assert session.live is not None
    tick, inputs, outputs = session.live
    return Page(partial(_tick, tick, len(outputs)), [room, *inputs], outputs, timer=gr.Timer(REFRESH_S, active=False))


def _tick(tick: Callable[..., Any], num: int, room: str, *values: Any) -> Any:
    """Update the session's room while it is open, and no other."""
    return tick(*values) if room == "Session" else [gr.skip()] * num
