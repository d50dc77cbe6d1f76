"""Data: bring in files and data sets after a look at them, browse what is there, write a demonstration, export."""

from functools import partial
from typing import Any

import gradio as gr

from studio.annotation import history
from studio.annotation.history import Entry, Filter
from studio.datasets import starter
from studio.errors import StudioError
from studio.preferences import prompts
from studio.workspace import Database, Workspace
from ui.components import html, typed
from ui.handlers import any_of, on
from ui.page import Page
from ui.pages.data import export_cards, import_card

PAGE_SIZE = 20
DRAFTS = ("demonstration-prompt", "demonstration-response", "demonstration-category")


def build(ws: Workspace) -> Page:
    """Place the page."""
    with gr.Row(elem_classes="split data"):
        with gr.Column(scale=3, min_width=320):
            browse = _browse(ws)
        with gr.Column(scale=2, min_width=320):
            with gr.Accordion("Import", elem_classes="card", elem_id="import"):
                imported, kit = _import(ws)
            with gr.Accordion("Write a demonstration", elem_classes="card", elem_id="write"):
                written, boxes = _write(ws)
            changed = export_cards.place(ws)
    inputs, outputs = browse
    for done in (*imported, written, *changed):
        on(done.then, partial(_list, ws), inputs, outputs)
    stored = typed.stored(boxes)
    fields = dict(zip(boxes, stored, strict=True))
    return Page(partial(_open, ws), inputs, [*outputs, *stored, kit], typed=fields)


def _browse(ws: Workspace) -> tuple[list[Any], list[Any]]:
    """Place the lists with search and pages; return what they are drawn from and what drawing them sets."""
    counts = html.html(elem_id="data-counts")
    with gr.Row(elem_classes="controls"):
        what = gr.Radio(
            ["demonstrations", "prompts", "preferences"],
            value="demonstrations",
            show_label=False,
            container=False,
            min_width=260,
        )
        search = gr.Textbox(
            "",
            label="Search",
            placeholder="Search the texts",
            show_label=False,
            container=False,
            max_lines=1,
            elem_id="search",
            min_width=180,
        )
    listing = html.html(elem_id="listing")
    offset = gr.Number(0, visible=False)
    with gr.Row(elem_classes="controls pager"):
        newer = gr.Button("Previous", interactive=False, size="sm", min_width=100)
        older = gr.Button("Next", interactive=False, size="sm", min_width=100)
    inputs, outputs = [what, search, offset], [counts, listing, offset, newer, older]
    on(any_of([what, search], "change"), partial(_list, ws), [what, search], outputs)
    on(newer.click, partial(_turn, ws, -PAGE_SIZE), inputs, outputs)
    on(older.click, partial(_turn, ws, PAGE_SIZE), inputs, outputs)
    return inputs, outputs


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


def _open(ws: Workspace, what: str, search: str, offset: float) -> list[Any]:
    """Show the page as it was left: its list, and the demonstration that was being written."""
    with ws.read() as db:
        drafts = [prompts.load_draft(db, name) for name in DRAFTS]
        is_loaded = starter.is_loaded(db)
    return [*_list(ws, what, search, offset), *drafts, gr.Column(visible=not is_loaded)]


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


def _turn(ws: Workspace, by: int, what: str, search: str, offset: float) -> list[Any]:
    return _list(ws, what, search, offset + by)


def _list(ws: Workspace, what: str, search: str, offset: float = 0) -> list[Any]:
    """Draw one page of demonstrations, prompts or imported preferences that contain the search text."""
    start = max(0, int(offset))
    reads = {"prompts": prompts.list_prompts, "preferences": _imported}
    with ws.read() as db:
        found: list[Any] = reads.get(what, prompts.list_demonstrations)(
            db, search=search.strip(), limit=PAGE_SIZE + 1, offset=start
        )
        counts = _counts(db)
    shown = found[:PAGE_SIZE]
    draw = {"prompts": _prompt, "preferences": _preference}.get(what, _demonstration)
    listing = "".join(draw(row) for row in shown) or _nothing(what, search)
    last, more = gr.Button(interactive=start > 0), gr.Button(interactive=len(found) > PAGE_SIZE)
    return [counts, f'<div class="texts">{listing}</div>', start, last, more]


def _counts(db: Database) -> str:
    counts = prompts.counts(db) | {"preferences": history.count_imported(db)}
    figures = "".join(
        f'<div><b class="num">{counts[name]:,}</b><span>{words}</span></div>'
        for name, words in (
            ("prompts", "prompts"),
            ("demonstrations", "demonstrations"),
            ("samples", "sampled answers"),
            ("preferences", "imported preferences"),
        )
    )
    return f'<div class="figures">{figures}</div>'


def _nothing(what: str, search: str) -> str:
    if search.strip():
        return html.empty("Nothing found", f"No {what} contain “{search.strip()}”.")
    if what == "prompts":
        return html.empty(
            "No prompts yet",
            "Prompts are what the policy answers, for you to compare. Import some, or load the starter kit.",
        )
    if what == "preferences":
        text = "Imported pairs that came with a judgement are listed here with both answers. Your own ratings are under Rate, History."
        return html.empty("No imported preferences", text)
    text = (
        "A demonstration is a prompt with the answer you would have wanted. SFT teaches the base model to imitate them. "
        "Import some, load the starter kit, or write the first one here."
    )
    return html.empty("No demonstrations yet", text)


def _demonstration(row: prompts.Demonstration) -> str:
    return f'<article class="entry">{html.conversation(row.messages, row.response)}<footer>{html.tags([row.category, row.split])}</footer></article>'


def _prompt(row: dict[str, Any]) -> str:
    return f'<article class="entry">{html.conversation(row["messages"])}<footer>{html.tags([row["category"], row["split"]])}</footer></article>'


def _imported(db: Database, *, search: str, limit: int, offset: int) -> list[Entry]:
    """Return judgements that came with an import, as they count now, newest first."""
    return history.find(db, Filter(search=search, is_imported=True), limit=offset + limit)[offset:]


def _preference(entry: Entry) -> str:
    """Draw a prompt with both answers."""
    names = {"left": ("chosen", "rejected"), "right": ("rejected", "chosen")}.get(
        entry.outcome, ("answer 1", "answer 2")
    )
    sides = html.conversation([], entry.left, names[0]) + html.conversation([], entry.right, names[1])
    verdict = "" if entry.outcome == "left" and not entry.strength else entry.verdict
    tags = html.tags([verdict, entry.category, entry.split])
    return f'<article class="entry">{html.conversation(entry.messages)}{sides}<footer>{tags}</footer></article>'
