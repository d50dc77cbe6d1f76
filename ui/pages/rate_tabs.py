"""The rooms of the Rate page: the pairs themselves, the session, the history of all ratings, the snapshots made of them."""

import gradio as gr

from studio.workspace import Workspace
from ui.border import on
from ui.pages import Page, history, rate, rate_session, snapshots

ROOMS = {"Session": rate_session.build, "History": history.build, "Snapshots": snapshots.build}


def build(ws: Workspace) -> Page:
    """Place the page; each room is brought up to date when it is opened, and the session's when the page is."""
    pages: dict[str, Page] = {}
    with gr.Tabs(elem_classes="sub", elem_id="rate-tabs"):
        with gr.Tab("Pairs", elem_id="rate-pairs"):
            rate.build(ws)
        for title, build_room in ROOMS.items():
            with gr.Tab(title, elem_id=f"rate-{title.lower()}") as tab:
                pages[title] = page = build_room(ws)
            on(tab.select, page.refresh, page.inputs, page.outputs)
    return Page(pages["Session"].refresh, pages["Session"].inputs, pages["Session"].outputs)
