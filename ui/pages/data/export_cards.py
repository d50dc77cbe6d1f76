"""The Data page's cards for others: ratings in their formats, tasks for them to label, and Label Studio.

The address of the Label Studio server comes from the environment, as its token does: a token must not go where a visitor
of the page wants it.
"""

import os
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.datasets import archive, exporting
from studio.errors import StudioError
from studio.exchange import rating_formats, ratings_out, to_label
from studio.exchange.label_studio import pull, push, tables
from studio.exchange.label_studio.client import TOKEN, URL, Server
from studio.exchange.tasks import WHAT
from studio.workspace import Database, Workspace
from ui.components import html
from ui.handlers import on

OWN = [("all comparisons, lossless (JSONL)", "native"), ("archive of the workspace", "archive")]
FORMATS = [*OWN, *((form.title, name) for name, form in rating_formats.FORMATS.items())]


def place(ws: Workspace) -> list[Any]:
    """Place the cards; returns the events after which the page's lists have changed."""
    with gr.Accordion("Export", open=False, elem_classes="card", elem_id="export-data"):
        form = gr.Dropdown(FORMATS, value="native", label="Ratings as", elem_id="ratings-format")
        write = gr.Button("Export ratings", elem_id="export-ratings", min_width=150)
        written = html.html(html.notice(""), elem_id="ratings-told")
        with gr.Row():
            tool = gr.Dropdown(list(to_label.FORMATS), value="label-studio", label="For others to label", min_width=150)
            what = gr.Dropdown(list(WHAT), value="pairs", label="What", min_width=120)
        is_all = gr.Checkbox(False, label="also what is judged or answered already")
        give = gr.Button("Write tasks", elem_id="export-tasks", min_width=150)
        given = html.html(html.notice(""), elem_id="tasks-told")
    on(write.click, partial(_ratings, ws), [form], [written], progress=True)
    on(give.click, partial(_tasks, ws), [tool, what, is_all], [given], progress=True)
    return [_label_studio(ws)]


def _label_studio(ws: Workspace) -> Any:
    with gr.Accordion("Label Studio", open=False, elem_classes="card", elem_id="label-studio"):
        html.html(_where())
        name = gr.Textbox("", label="Project", placeholder="Round 1", max_lines=1, elem_id="label-studio-project")
        what = gr.CheckboxGroup(list(WHAT), value=["pairs", "rankings"], label="What")
        with gr.Row(elem_classes="controls"):
            give = gr.Button("Push", elem_id="label-studio-push", min_width=100)
            bring = gr.Button("Pull", elem_id="label-studio-pull", min_width=100)
        told = html.html(html.notice(""), elem_id="label-studio-told")
        listing = html.html("", elem_id="label-studio-projects")
    on(give.click, partial(_push, ws), [name, what], [told, listing], progress=True)
    return on(bring.click, partial(_pull, ws), [name, what], [told, listing], progress=True)


def _ratings(ws: Workspace, form: str) -> str:
    return _said(lambda: _export(ws, form))


def _export(ws: Workspace, form: str) -> str:
    if form == "archive":
        found = archive.write(ws)
        return f"{found.sentence} It is {found.path}."
    if form == "native":
        path = exporting.export_ratings(ws)
        return f"{exporting.count_lines(path):,} comparisons with all their events are in {path}."
    return ratings_out.export(ws, form).sentence


def _tasks(ws: Workspace, tool: str, what: str, is_all: bool) -> str:
    return _said(lambda: to_label.export(ws, tool, what, is_all=is_all).sentence)  # type: ignore[arg-type]  # one of the choices


def _push(ws: Workspace, name: str, what: list[str]) -> list[str]:
    def work() -> str:
        with Server(os.environ.get(URL, "")) as server:
            return " ".join(each.sentence for each in push.push(ws, server, name, what))  # type: ignore[arg-type]  # one of the choices

    said = _said(work)
    with ws.read() as db:
        return [said, _projects(db)]


def _pull(ws: Workspace, name: str, what: list[str]) -> list[str]:
    def work() -> str:
        with Server(os.environ.get(URL, "")) as server:
            return " ".join(each.sentence for each in pull.pull(ws, server, name, what))  # type: ignore[arg-type]  # one of the choices

    said = _said(work)
    with ws.read() as db:
        return [said, _projects(db)]


def _said(work: Callable[[], str]) -> str:
    try:
        return html.notice(work(), "good")
    except StudioError as error:
        return html.notice(str(error), "bad")


def _where() -> str:
    """Tell which server is used, or how to name it."""
    url = os.environ.get(URL, "")
    if url:
        return f'<p class="quiet">The server is {escape(url)}; names of models never go there.</p>'
    return (
        f'<p class="quiet">Set {URL} to the address of the server and {TOKEN} to a token of it before you start the studio, or '
        "use <code>rlhf-studio label-studio push</code>.</p>"
    )


def _projects(db: Database) -> str:
    rows = "".join(
        f'<tr><td>{escape(row["title"])}</td><td class="num">{row["tasks"]:,}</td><td class="num">{row["judgements"]:,}</td></tr>'
        for row in tables.list_projects(db)
    )
    return (
        f"<table class='judged'><tr><th>project</th><th>tasks</th><th>judgements</th></tr>{rows}</table>"
        if rows
        else ""
    )
