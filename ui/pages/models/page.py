"""The Models page: what trained on what, the checkpoints with their figures, a prompt tried on two of them, and export."""

import time
from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.chat import asking
from studio.chat.protocol import Sampling
from studio.chat.resident import Resident
from studio.errors import StudioError
from studio.evaluation import leaderboard
from studio.models import checkpoint_pages as shelf
from studio.models import disk, export, gguf, notes
from studio.models.checkpoints import POLICIES, Checkpoint
from studio.page_reads import PAGE
from studio.runs import rounds
from studio.workspace import Database, Workspace
from ui import rendering
from ui.components import dropdown, html, pager
from ui.handlers import on
from ui.page import Page
from ui.pages.models import compare_card, delete_card, lineage, noting, table

WAITING = "Loading the model and generating …"
DRAWN_EVERY_S = 0.1
NOTHING = "An empty answer: its first token was the end token."


def build(ws: Workspace, resident: Resident) -> Page:
    """Place the page. The resident process starts with the first question and ends with the server, if not before."""
    with ws.read() as db:
        policies, names = _names(db, *POLICIES), _names(db)
    tree = html.html(elem_id="lineage")
    pages = pager.build("models", "Search the checkpoints")
    drawn = html.html(elem_id="checkpoints")
    dialog = noting.build(ws)
    with gr.Accordion("Try a prompt", elem_classes="card", elem_id="try"):
        first, second = _try(resident, policies)
    with gr.Accordion("Compare two checkpoints", open=False, elem_classes="card", elem_id="compare"):
        compared = compare_card.build(ws)
    with gr.Accordion("Export a checkpoint", open=False, elem_classes="card", elem_id="export"):
        exported = _export(ws, names)
    pickers = [first, second, *compared, exported]
    inputs, outputs = [*pickers, *pages.inputs], [tree, drawn, *pickers, *pages.outputs]
    with gr.Accordion("Delete a checkpoint or a run", open=False, elem_classes="card", elem_id="delete"):
        leaving = delete_card.build(ws, inputs, outputs, partial(_refresh_all, ws))
    pages.bind(partial(_refresh, ws), inputs, outputs)
    on(dialog.submit, partial(_refresh, ws), inputs, outputs, trigger_mode="always_last")
    return Page(partial(_refresh_all, ws), [*inputs, leaving], [*outputs, leaving])


def _try(resident: Resident, policies: list[str]) -> tuple[gr.Dropdown, gr.Dropdown]:
    prompt = gr.Textbox(
        "", label="Prompt", lines=2, max_lines=12, elem_id="try-prompt", placeholder="What would you ask?"
    )
    with gr.Row():
        first = gr.Dropdown(
            policies, value=None, label="First checkpoint", allow_custom_value=True, elem_id="try-first", min_width=160
        )  # chosen when the page is opened: the newest at the server's start may be old by then
        second = gr.Dropdown(
            policies,
            value=None,
            label="Second checkpoint",
            allow_custom_value=True,
            elem_id="try-second",
            min_width=160,
        )
        temperature = gr.Slider(0.1, 2.0, value=0.7, step=0.1, label="Temperature", min_width=230)
        length = gr.Slider(8, 512, value=96, step=8, label="Maximum tokens", min_width=230)
    with gr.Row(elem_classes="controls"):
        ask = gr.Button("Ask both", variant="primary", elem_id="ask", min_width=140)
        stop = gr.Button("Stop", visible=False, elem_id="ask-stop", min_width=140)
    with gr.Row(elem_classes="answers"):
        left = html.html(_answer("", ""), elem_id="answer-first")
        right = html.html(_answer("", ""), elem_id="answer-second")
    waiting = on(ask.click, _waiting, [first, second], [left, right, ask, stop])
    asking_both = on(
        waiting.success,
        partial(_ask, resident),
        [prompt, first, second, temperature, length],
        [left, right, ask, stop],
    )
    on(stop.click, lambda: _BUTTONS[False], None, [ask, stop], cancels=[asking_both])
    return first, second


def _export(ws: Workspace, names: list[str]) -> gr.Dropdown:
    with gr.Row(elem_classes="controls"):
        name = gr.Dropdown(
            names, value=None, label="Checkpoint", allow_custom_value=True, min_width=200, elem_id="export-name"
        )
        with gr.Column(min_width=280):
            merged = gr.Checkbox(
                label="Merge the adapter into the base model",
                info="A plain transformers folder; needs memory for the whole model.",
            )
            as_gguf = gr.Checkbox(
                label="As a GGUF file",
                info=f"For llama.cpp: merged, then written by its {gguf.CONVERTER} where that is installed.",
                elem_id="export-gguf",
            )
        button = gr.Button("Export", elem_id="export-start", min_width=120)
    told = html.html(html.notice(""), elem_id="export-told")
    on(button.click, partial(_write, ws), [name, merged, as_gguf], [told], progress=True)
    return name


def _refresh_all(ws: Workspace, *values: Any) -> list[Any]:
    """Draw the page and what can be deleted; the last value is what is chosen there."""
    *rest, leaving = values
    with ws.read() as db:
        return [*_refresh(ws, *rest), delete_card.offer(shelf.page(db), leaving if isinstance(leaving, str) else None)]


def _refresh(
    ws: Workspace,
    first: str | None,
    second: str | None,
    one: str | None,
    other: str | None,
    exported: str | None,
    search: str = "",
    offset: float = 0,
) -> list[Any]:
    """Draw a page of the table, its family tree, and the pickers; what was chosen stays chosen."""
    start, word = pager.place(offset), str(search or "")
    with ws.read() as db:
        found = shelf.page(db, search=word, limit=PAGE + 1, offset=start)
        newest, policies = shelf.page(db, limit=PAGE), _names(db, *POLICIES)
    if not newest:
        text = "Every training run leaves checkpoints here: what it learned, where it came from, and a way to try it."
        nothing = html.empty("No checkpoints yet", text, "train", "Train the first one")
        return [nothing, "", *[gr.skip()] * 5, *pager.states(0, 0, "")]
    shown = found[:PAGE]
    names = [c.name for c in newest]
    with ws.read() as db:
        if not start and not word:  # pinned ones are seen at once, however old they are
            shown = list({c.id: c for c in (*shelf.pinned(db), *shown)}.values())
        handed_on = {c.id for c in shelf.handed_on(db, sorted({c.run_id for c in shown}))}
        said, won = notes.of(db, [c.id for c in shown]), leaderboard.against_sft(db, shown)
        pickers = [
            _picker(db, policies, first, next(iter(policies), None), *POLICIES),
            _picker(db, policies, second, _other(policies), *POLICIES),
            _picker(db, names, one, _older(newest), *rounds.TRAINED),
            _picker(db, names, other, newest[0].name, *rounds.TRAINED),
            _picker(db, names, exported, newest[0].name, *rounds.TRAINED),
        ]
    nothing = f"No checkpoint has “{word.strip()}” in its name, its base model, its note or its tags."
    trained, num_older = rounds.read(ws)
    return [
        lineage.draw(trained, num_older, rounds.sizes(ws, trained), disk.summary(ws.root, ws.runs)),
        table.draw(shown, handed_on, said, won) if shown else html.empty("Nothing found", nothing),
        *pickers,
        *pager.states(start, len(found), word),
    ]


def _older(newest: list[Checkpoint]) -> str | None:
    """Return what the newest checkpoint is compared with at first: the one before it of its stage, else of any."""
    before = [c for c in newest[1:] if c.stage == newest[0].stage] or newest[1:]
    return before[0].name if before else None


def _picker(db: Database, names: list[str], current: str | None, otherwise: str | None, *stages: str) -> gr.Dropdown:
    """Offer the newest names to choose from; any other existing one can be typed, and stays."""
    is_kept = bool(current) and (current in names or shelf.is_known(db, str(current), *stages))
    offered = [*names, str(current)] if is_kept and current not in names else names
    return dropdown.offer(offered, current, current if is_kept else otherwise)


def _names(db: Database, *stages: str) -> list[str]:
    return [c.name for c in shelf.page(db, *stages)]


def _other(policies: list[str]) -> str | None:
    """Return a second policy to compare with the newest: the newest of another run."""
    other = [name for name in policies if name.partition("@")[0] != policies[0].partition("@")[0]]
    return next(iter(other or policies), None)


_BUTTONS = {is_asking: [gr.Button(visible=not is_asking), gr.Button(visible=is_asking)] for is_asking in (False, True)}
"""Ask and Stop, before and while an answer is given."""


def _waiting(first: str | None, second: str | None) -> list[Any]:
    """Show at once that answers are coming, before the models are loaded."""
    cards = [_answer(name or "", "", is_waiting=True) for name in (first, second)]
    return [*cards, *_BUTTONS[True]]


def _ask(
    resident: Resident, prompt: str, first: str | None, second: str | None, temperature: float, length: float
) -> Iterator[list[Any]]:
    """Draw both answers to the same prompt as they grow."""
    names = [name for name in (first, second) if name]
    fault = "" if names else "There is no policy to ask yet. Train SFT first."
    fault = fault or ("" if prompt.strip() else "The prompt is empty. Write what you would ask.")
    if fault:
        yield [html.notice(fault, "bad"), "", *_BUTTONS[False]]
        return
    sampling = Sampling(temperature=temperature, max_new_tokens=int(length))
    answers: dict[str, str] = {}
    drawn_at = 0.0
    try:
        for answers in asking.growing(resident, [{"role": "user", "content": prompt.strip()}], names, sampling):
            if time.monotonic() - drawn_at > DRAWN_EVERY_S:
                # Not the buttons: what is under way when Stop is pressed arrives after it, and would show Stop again.
                yield [*_cards(answers, first, second), gr.skip(), gr.skip()]
                drawn_at = time.monotonic()
    except StudioError as error:
        yield [html.notice(str(error), "bad"), "", *_BUTTONS[False]]
        return
    yield [*_cards(answers, first, second), *_BUTTONS[False]]


def _cards(answers: dict[str, str], first: str | None, second: str | None) -> list[str]:
    return [_answer(name, answers.get(name, "")) if name else "" for name in (first, second)]


def _write(ws: Workspace, name: str | None, is_merged: bool, is_gguf: bool) -> Iterator[str]:
    """Export a checkpoint, and say how far it is."""
    if not name:
        yield html.notice("There is no checkpoint to export yet.", "bad")
        return
    said = ""
    try:
        if is_gguf:
            for said in gguf.export_gguf(ws, name):
                yield html.notice(said, "working")
        else:
            folder = export.export_checkpoint(ws, name, is_merged)
            said = f"Written to {folder}" + (f"\n{export.serving(folder, name)}" if is_merged else "")
    except StudioError as error:
        yield html.notice(str(error), "bad")
        return
    yield html.notice(said, "good")


def _answer(name: str, text: str, *, is_waiting: bool = False) -> str:
    if text and not is_waiting:
        words = rendering.words(text)
    else:
        quiet = WAITING if is_waiting else NOTHING if name else ""
        words = f'<div class="words quiet">{quiet}</div>'
    head = f"<h4>{escape(name)}</h4>" if name else ""
    return f'<article class="answer">{head}{words}</article>'
