"""The table of texts on the Data page: demonstrations, prompts or imported preferences, one of them whole in a drawer, and its changes."""

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.annotation import history
from studio.errors import DataError, StudioError
from studio.page_reads import Shared
from studio.preferences import catalogue, demonstrations, prompts, texts
from studio.preferences.catalogue import Filter, Text
from studio.preferences.texts import ONE, WHATS
from studio.workspace import LARGEST, Database, Workspace
from ui import rendering
from ui.components import html, paging, row_drawer
from ui.components.paging import Place
from ui.handlers import any_of, on

PAGE_SIZE = 20
COUNTED = 10_000
"""Most texts that are counted."""
ANY, NONE = "*", ""
COLUMNS = {
    "demonstrations": [("asked", "Prompt"), ("answer", "Answer"), ("category", "Category"), ("source", "Source")],
    "prompts": [("asked", "Prompt"), ("category", "Category"), ("split", "Split"), ("source", "Source")],
    "preferences": [("asked", "Prompt"), ("verdict", "Outcome"), ("category", "Category"), ("source", "Source")],
}
_shared = Shared(keep_s=3600.0)
"""What stands around the table, which many texts take a while to count."""
ACTIONS = {"hide": "Hidden", "show": "Shown again"}
_BARE: dict[str, Any] = {"show_label": False, "container": False}


def place(ws: Workspace) -> tuple[list[Any], list[Any], list[Any]]:
    """Place the table with its filters; return what it is drawn from, what drawing it sets, and the filters with choices."""
    counts = html.html(elem_id="data-counts")
    with gr.Row(elem_classes="controls"):
        what = gr.Radio(list(WHATS), value="demonstrations", min_width=260, **_BARE)
        search = gr.Textbox(
            "", label="Search", placeholder="Search the texts", max_lines=1, elem_id="search", min_width=180, **_BARE
        )
    with gr.Row(elem_classes="controls history-filters"):
        split = gr.Dropdown([("any split", ""), *prompts.SPLITS], value="", label="split", min_width=110, **_BARE)
        category = gr.Dropdown(
            [("any category", ANY)], value=ANY, label="category", elem_id="data-category", min_width=130, **_BARE
        )
        source = gr.Dropdown(
            [("any source", "")], value="", label="source", elem_id="data-source", min_width=150, **_BARE
        )
        hidden = gr.Dropdown(
            [("in use", ""), ("hidden", "hidden")],
            value="",
            label="shown",
            elem_id="data-hidden",
            min_width=100,
            **_BARE,
        )
    at = gr.State(Place())
    clicked = row_drawer.place("data", "Text", "data")
    listing = html.html(elem_id="data-list")
    with gr.Row(elem_classes="controls pager"):
        newer = gr.Button("Newer", interactive=False, size="sm", min_width=90, elem_id="data-newer")
        older = gr.Button("Older", interactive=False, size="sm", min_width=90, elem_id="data-older")
        extent = html.html(elem_id="data-extent")
    filters = [what, search, split, category, source, hidden]
    inputs, outputs = [at, *filters], [counts, listing, at, newer, older, extent]
    with gr.Column(elem_id="data-drawer", elem_classes="drawer"):
        picked, is_changed, shown, done = _drawer(ws)
    on(any_of(filters, "change"), partial(_list, ws, "newest"), inputs, outputs[1:])
    on(newer.click, partial(_list, ws, "newer"), inputs, outputs[1:])
    on(older.click, partial(_list, ws, "older"), inputs, outputs[1:])
    on(clicked.submit, partial(_open_row, ws), [clicked, what], [picked, *shown], trigger_mode="always_last")
    for each in done:
        drawn = on(each.then, partial(_pick_again, ws), [is_changed, picked], shown[:-1])
        on(drawn.then, partial(refresh, ws), inputs, [*outputs, category, source])
    return inputs, outputs, [category, source]


def _drawer(ws: Workspace) -> tuple[gr.Textbox, gr.State, list[Any], list[Any]]:
    """Place what shows and changes one text; return what is picked, whether the last press changed it, what showing it sets, and
    the events of such presses."""
    picked, is_changed = gr.Textbox("", visible=False), gr.State(False)
    detail = html.html(elem_id="data-detail")
    told = html.html(html.notice(""), elem_id="data-told", render=False)
    with gr.Row(elem_classes="controls"):
        hide = gr.Button("Hide", elem_id="data-hide", min_width=100)
        undo = gr.Button("Undo", elem_id="data-undo", min_width=90)
    told.render()
    answer = gr.Textbox("", label="A better answer", lines=4, max_lines=20, visible=False, elem_id="data-answer")
    edit = gr.Button("Save as a new version", visible=False, elem_id="data-edit")
    category = gr.Textbox("", label="Category of the prompt", max_lines=1, elem_id="data-to-category")
    move = gr.Button("Change the category", elem_id="data-move")
    done = [
        on(hide.click, partial(_change, ws, _hide), [picked], [told, picked, is_changed]),
        on(undo.click, partial(_change, ws, _undo), [picked], [told, picked, is_changed]),
        on(edit.click, partial(_change, ws, _edit), [picked, answer], [told, picked, is_changed]),
        on(move.click, partial(_change, ws, _move), [picked, category], [told, picked, is_changed]),
    ]
    return picked, is_changed, [detail, hide, undo, answer, edit, category, told], done


def refresh(ws: Workspace, at: Any, *filters: Any) -> list[Any]:
    """Draw the page that is shown again, and what it can be filtered by."""
    counts, named, sources = _shared.get(ws, "around", partial(_around, ws))
    choices = [gr.Dropdown([("any category", ANY), *named]), gr.Dropdown([("any source", ""), *sources])]
    return [counts, *_list(ws, "same", at, *filters), *choices]


def _around(ws: Workspace) -> tuple[str, list[tuple[str, str]], list[tuple[str, str]]]:
    """Return how many texts there are, and the categories and sources that there are to choose from."""
    with ws.read() as db:
        named = [(name or "without category", name) for name in catalogue.categories(db)]
        return _counts(db), named, [(words, name) for name, words in catalogue.sources(db).items()]


def _list(ws: Workspace, move: str, at: Any, *filters: Any) -> list[Any]:
    """Draw a page of the texts that fit: table, where it is, the ways to others, and how many there are."""
    what, search, split, category, source, is_hidden = filters
    with ws.read() as db:
        try:
            wanted = Filter(
                what, search.strip(), split or "", None if category == ANY else category, source or "", bool(is_hidden)
            )
        except DataError as error:
            return [html.notice(str(error), "bad"), Place(), *paging.ways(False, False), ""]
        find, count = partial(catalogue.find, db, wanted), partial(_total, db, wanted)
        found, at, is_more = paging.turn(find, count, move, at, PAGE_SIZE)
    if not found:
        nothing = f'<div data-kind="{what}">{_nothing(wanted)}</div>'
        return [nothing, at, *paging.ways(False, False), ""]
    drawn = row_drawer.table(what.capitalize(), COLUMNS[what], [_row(what, text) for text in found], what)
    return [drawn, at, *paging.ways(at.before > 0, is_more), row_drawer.extent(at.before, len(found), at.total)]


def _total(db: Database, wanted: Filter) -> str:
    number = catalogue.count(db, wanted, COUNTED + 1)
    return f"more than {COUNTED:,}" if number > COUNTED else f"{number:,}"


def _row(what: str, text: Text) -> str:
    drawn = {
        "asked": escape(row_drawer.first_letters(text.messages[-1]["content"])),
        "answer": escape(row_drawer.first_letters(text.answers[0])) if text.answers else "",
        "verdict": f'<span class="verdict">{escape(text.judgement or "taken back")}</span>',
        "category": html.tags([text.category]),
        "split": escape(text.split),
        "source": escape(text.source),
    }
    cells = [(name, drawn[name]) for name, _ in COLUMNS[what]]
    return row_drawer.row(text.id, cells, "is-hidden" if text.is_hidden else "")


def _open_row(ws: Workspace, number: Any, what: str) -> list[Any]:
    picked = number if "/" in str(number) else f"{what}/{number}"
    with ws.read() as db:
        return [picked, *_pick(db, picked), html.notice("")]


def _parse(picked: str) -> tuple[Any, int]:
    """Return the list and the number of what is picked.

    Raises:
        DataError: nothing is.
    """
    what, _, number = (picked or "").partition("/")
    if what not in WHATS or not number.isdecimal() or len(number) > 19 or int(number) > LARGEST:
        raise DataError("Choose a row of the table first.")
    return what, int(number)


def _pick_again(ws: Workspace, is_changed: bool, picked: str) -> list[Any]:
    """Show the text as it is now; after a refusal nothing is set, so that what was typed stays."""
    if not is_changed:
        return [gr.skip()] * 6
    with ws.read() as db:
        return _pick(db, picked)


def _pick(db: Database, picked: str) -> list[Any]:
    """Show the chosen text whole, and what can be done with it."""
    try:
        what, number = _parse(picked)
        text = catalogue.get(db, what, number)
        uses, done = catalogue.uses(db, text), texts.history(db, what, number)
        is_hidden = texts.is_hidden(db, what, number)
        standing = demonstrations.standing(db, number) if what == "demonstrations" else ""
    except StudioError as error:
        said = row_drawer.head(0, "Text") + html.notice(str(error), "bad")
        return [said, *(gr.Button(interactive=False) for _ in range(2)), *(gr.skip() for _ in range(3))]
    is_answer = what == "demonstrations"
    return [
        _detail(what, text, uses, done, standing),
        gr.Button("Show again" if is_hidden else "Hide", interactive=True),
        gr.Button(interactive=texts.undoable(done) is not None),
        gr.Textbox(text.answers[0] if is_answer else "", visible=is_answer),
        gr.Button(visible=is_answer),
        text.category,
    ]


def _detail(what: str, text: Text, uses: dict[str, int], done: list[dict[str, Any]], standing: str) -> str:
    hidden = "hidden, with its prompt or by itself" if text.is_hidden else ""
    if what == "preferences":
        shown = "".join(
            f'<section><h4>Answer {number}</h4><div class="answer-text">{rendering.words(answer)}</div></section>'
            for number, answer in enumerate(text.answers, 1)
        )
        answers = f'<div class="answers" tabindex="0" role="region" aria-label="Answers">{shown}</div>'
        shown = html.conversation(text.messages) + answers
    else:
        shown = html.conversation(text.messages, *text.answers)
    used = ", ".join(f"{number:,} {name}" for name, number in uses.items() if number) or "nothing yet"
    events = "".join(map(_event, done))
    events = f"<details open><summary>What was done with it</summary><ol>{events}</ol></details>" if done else ""
    about = f"{standing} Source: {text.source}, {text.created_at[:10]}. Its prompt has: {used}.".strip()
    return (
        f'<article class="rating-detail">{row_drawer.head(text.id, f"{ONE[what].capitalize()} {text.id}")}'
        f'<p class="quiet">{escape(about)}</p>{html.tags([text.judgement, text.category, text.split, hidden])}{shown}{events}</article>'
    )


def _event(event: dict[str, Any]) -> str:
    by = (
        f"{event['created_at'][:19]} UTC, by {event['rater']}{', to undo what came before' if event['is_undo'] else ''}"
    )
    if event["action"] == "edit":
        return f"<li>Edited {escape(by)}; before: {html.conversation([], event['before'], 'before')}</li>"
    if event["action"] == "category":
        said = f"Category {event['before'] or 'none'} became {event['after'] or 'none'}"
        return f"<li>{escape(said)}, {escape(by)}</li>"
    return f"<li>{ACTIONS[event['action']]}, {escape(by)}</li>"


def _change(ws: Workspace, change: Callable[..., tuple[str, int]], picked: str, *given: str) -> list[Any]:
    """Change what is picked; say what was done, and pick what it is now."""
    try:
        what, number = _parse(picked)
        with ws.write() as db:
            said, now = change(db, what, number, *given)
    except StudioError as error:
        return [html.notice(str(error), "bad"), gr.skip(), False]
    return [html.notice(said, "good"), f"{what}/{now}", True]


def _hide(db: Database, what: Any, number: int) -> tuple[str, int]:
    if texts.is_hidden(db, what, number):
        texts.show(db, what, number)
        return "It is used again.", number
    texts.hide(db, what, number)
    return "Hidden: it is not trained on, sampled from or counted. Nothing was deleted.", number


def _undo(db: Database, what: Any, number: int) -> tuple[str, int]:
    return "Undone.", texts.undo(db, what, number)


def _edit(db: Database, what: Any, number: int, text: str) -> tuple[str, int]:
    if what != "demonstrations":
        raise DataError("Only the answer of a demonstration can be edited.")
    return "Saved. The earlier version stays on record.", texts.edit(db, number, text)


def _move(db: Database, what: Any, number: int, category: str) -> tuple[str, int]:
    texts.set_category(db, catalogue.get(db, what, number).prompt_id, category)
    return "The prompt and all its answers are in this category now.", number


def _counts(db: Database) -> str:
    counts = catalogue.totals(db) | {"preferences": history.count_imported(db)}
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


def _nothing(wanted: Filter) -> str:
    if wanted == Filter(wanted.what, wanted.search) and wanted.search:
        return html.empty("Nothing found", f"No {wanted.what} contain “{wanted.search}”.")
    if wanted != Filter(wanted.what):
        return html.empty("Nothing found", f"No {wanted.what} have these filters. Loosen them to see others.")
    if wanted.what == "prompts":
        return html.empty(
            "No prompts yet",
            "Prompts are what the policy answers, for you to compare. Import some, or load the starter kit.",
        )
    if wanted.what == "preferences":
        text = "Imported pairs that came with a judgement are listed here with both answers. Your own ratings are under Rate, History."
        return html.empty("No imported preferences", text)
    text = (
        "A demonstration is a prompt with the answer you would have wanted. SFT teaches the base model to imitate them. "
        "Import some, load the starter kit, or write the first one here."
    )
    return html.empty("No demonstrations yet", text)
