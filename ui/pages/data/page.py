"""Data: bring in files and data sets after a look at them, browse what is there, write a demonstration, export."""

from functools import partial
from typing import Any

import gradio as gr

from studio.datasets import starter
from studio.errors import StudioError
from studio.preferences import prompts
from studio.workspace import Workspace
from ui.components import html, typed
from ui.handlers import on
from ui.page import Page
from ui.pages.data import browse, export_cards, import_card, imports

DRAFTS = ("demonstration-prompt", "demonstration-response", "demonstration-category")


def build(ws: Workspace) -> Page:
    """Place the page."""
    with gr.Row(elem_classes="split data"):
        with gr.Column(scale=3, min_width=320):
            inputs, outputs, choices = browse.place(ws)
        with gr.Column(scale=2, min_width=320):
            with gr.Accordion("Import", elem_classes="card", elem_id="import"):
                imported, kit = _import(ws)
            with gr.Accordion("What was imported", open=False, elem_classes="card", elem_id="imports"):
                batches, taken_back = imports.place(ws)
            with gr.Accordion("Write a demonstration", elem_classes="card", elem_id="write"):
                written, boxes = _write(ws)
            changed = export_cards.place(ws)
    for done in imported:
        on(done.then, partial(imports.draw, ws), None, [batches])
    for done in (*imported, taken_back, written, *changed):
        on(done.then, partial(browse.refresh, ws), inputs, [*outputs, *choices])
    stored = typed.stored(boxes)
    fields = dict(zip(boxes, stored, strict=True))
    return Page(partial(_open, ws), inputs, [*outputs, *choices, *stored, kit, batches], typed=fields)


def _import(ws: Workspace) -> tuple[list[Any], gr.Column]:
    """Place the import card; return the events after which the lists have changed, and the starter kit's offer."""
    taken, told = import_card.place(ws)
    with ws.read() as db:
        is_loaded = starter.is_loaded(db)
    with gr.Column(visible=not is_loaded, elem_id="starter") as kit:
        begin = gr.Button("Load the starter kit", elem_id="load-starter")
        html.html(
            '<p class="quiet">The starter kit: prompts and demonstrations that come with the studio; nothing is downloaded.</p>'
        )
    return [taken, on(begin.click, partial(_load_starter, ws), None, [told, kit], progress=True)], kit


def _write(ws: Workspace) -> tuple[Any, list[gr.Textbox]]:
    """Place the writing card. What is typed is kept: neither a reload nor a restart loses it."""
    labels = ("Prompt", "What the assistant should have said", "Category")
    boxes = [
        gr.Textbox("", label=label, lines=lines, max_lines=24, elem_id=name, elem_classes=typed.FIELD)
        for name, label, lines in zip(DRAFTS, labels, (3, 7, 1), strict=True)
    ]
    save = gr.Button("Save demonstration", elem_id="save-demonstration")
    told = html.html(html.notice(""), elem_id="write-told")
    typed.keep(dict(zip(DRAFTS, boxes, strict=True)), partial(_keep, ws))
    return on(save.click, partial(_save, ws), boxes, [*boxes, told]), boxes


def _keep(ws: Workspace, name: str, text: str) -> None:
    with ws.write() as db:
        prompts.save_draft(db, name, text)


def _open(ws: Workspace, *shown: Any) -> list[Any]:
    """Show the page as it was left: its list, and the demonstration that was being written."""
    with ws.read() as db:
        drafts = [prompts.load_draft(db, name) for name in DRAFTS]
        is_loaded = starter.is_loaded(db)
    return [*browse.refresh(ws, *shown), *drafts, gr.Column(visible=not is_loaded), imports.draw(ws)]


def _load_starter(ws: Workspace) -> list[Any]:
    with ws.write() as db:
        before = prompts.counts(db)
        starter.load(db)
        after = prompts.counts(db)
    new = {name: after[name] - before[name] for name in ("prompts", "demonstrations")}
    said = f"Loaded {new['prompts']:,} prompts and {new['demonstrations']:,} demonstrations."
    return [html.notice(said, "good"), gr.Column(visible=False)]


def _save(ws: Workspace, prompt: str, response: str, category: str) -> list[Any]:
    if not prompt.strip():
        return [
            gr.skip(),
            gr.skip(),
            gr.skip(),
            html.notice("The prompt is empty. Write what the person asks.", "bad"),
        ]
    try:
        messages = [{"role": "user", "content": prompt.strip()}]
        with ws.write() as db:
            prompts.add_demonstration(db, messages, response, category.strip())
            for name in DRAFTS[:2]:
                prompts.save_draft(db, name, "")
    except StudioError as error:
        return [gr.skip(), gr.skip(), gr.skip(), html.notice(str(error), "bad")]
    return [
        "",
        "",
        gr.skip(),
        html.notice("Saved. The next SFT run learns from it if its prompt is in the train split.", "good"),
    ]
