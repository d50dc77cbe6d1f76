"""History, a section of Rate: every rating searched and filtered, one of them with all its events, and its correction."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.annotation import history, sessions
from studio.annotation.history import Entry, Filter
from studio.errors import RatingError, StudioError
from studio.preferences import prompts, ratings, vocabulary
from studio.preferences.judgements import Remarks, parse_ranking, ranking_words
from studio.preferences.vocabulary import ALL_BAD, SIDES, STRENGTHS, TIES, WORDS
from studio.workspace import Workspace
from ui import rendering
from ui.components import html
from ui.handlers import any_of, on
from ui.page import Page

PAGE_SIZE = 25
FIRST_LETTERS = 160
OUTCOMES = [("any outcome", ""), *((WORDS[outcome], outcome) for outcome in vocabulary.OUTCOMES)]
CORRECTIONS = [
    *((f"{WORDS[side]} {words}", f"{side}:{n}") for side in SIDES for n, words in reversed(STRENGTHS.items())),
    *((WORDS[outcome], outcome) for outcome in (*TIES, "skip")),
]
BETTER = CORRECTIONS[1][1]
"""The correction that the field begins with."""
RANK_CORRECTIONS = [("new ranking", "ranking"), (ALL_BAD, "both_bad"), (WORDS["skip"], "skip")]
FLAGS = [("any flag", ""), *vocabulary.FLAGS]
PICK = """
document.addEventListener("click", (event) => {
  const row = event.target.closest?.("#history-list [data-rating]");
  if (!row) return;
  props.value = row.dataset.rating;
  trigger("submit");
  if (innerWidth < 800) document.querySelector("#history-picked").scrollIntoView();
});
"""
"""A click on a row chooses its rating; where the detail is below the list, it is scrolled to."""
_BARE: dict[str, Any] = {"show_label": False, "container": False}


def build(ws: Workspace) -> Page:
    """Place the section."""
    with gr.Row(elem_classes="controls history-filters"):
        search = gr.Textbox(
            "",
            label="search",
            placeholder="Search prompts and answers",
            elem_id="history-search",
            min_width=200,
            **_BARE,
        )
        outcome = gr.Dropdown(OUTCOMES, value="", label="outcome", elem_id="history-outcome", min_width=130, **_BARE)
        category = gr.Dropdown(
            [("any category", "")], value="", label="category", elem_id="history-category", min_width=140, **_BARE
        )
        rater = gr.Dropdown(
            [("any rater", "")], value="", label="rater", elem_id="history-rater", min_width=120, **_BARE
        )
    with gr.Accordion("More filters", open=False, elem_classes="more"), gr.Row(elem_classes="fields"):
        since = gr.Textbox("", label="from (UTC day)", placeholder="2026-03-31", max_lines=1, min_width=140)
        until = gr.Textbox("", label="to (UTC day)", placeholder="2026-03-31", max_lines=1, min_width=140)
        flag = gr.Dropdown(FLAGS, value="", label="flag", min_width=140)
        session = gr.Dropdown([("any session or none", 0)], value=0, label="session", min_width=140)
        changed = gr.Checkbox(False, label="only ratings that were changed or undone")
    filters = [search, outcome, category, rater, since, until, flag, session, changed]
    start = gr.State(None)
    with gr.Row(elem_classes="split"):
        with gr.Column(scale=3, min_width=300):
            # An empty template: the value is a number that comes from outside and must not be drawn.
            clicked = html.html("", html_template="", js_on_load=PICK, elem_id="history-clicked")
            table = html.html(elem_id="history-list")
            with gr.Row(elem_classes="controls pager"):
                newest = gr.Button("Newest", size="sm", min_width=90, elem_id="history-newest")
                older = gr.Button("Older", size="sm", min_width=90, elem_id="history-older")
        with gr.Column(scale=2, min_width=280, elem_classes="rollout-side"):
            picked = gr.Textbox(
                "", label="Rating", placeholder="number of a rating", max_lines=1, elem_id="history-picked"
            )
            detail = html.html(_NONE, elem_id="history-detail")
            with gr.Row(elem_classes="controls"):
                to = gr.Dropdown(
                    CORRECTIONS, value=BETTER, label="corrected outcome", elem_id="history-to", min_width=180, **_BARE
                )
                ranks = gr.Textbox(
                    "",
                    label="corrected ranking",
                    placeholder="best first: 2 1=3",
                    max_lines=1,
                    visible=False,
                    elem_id="history-ranks",
                    **_BARE,
                )
                correct = gr.Button("Correct", elem_id="history-correct", min_width=110)
            note = gr.Textbox("", label="Note", lines=2, max_lines=6, elem_id="history-note")
            marks = gr.CheckboxGroup([], label="Flags", elem_id="history-flags")
            annotate = gr.Button("Save note and flags", elem_id="history-annotate")
            told = html.html(html.notice(""), elem_id="history-told")
    on(any_of(filters, "change"), partial(_list, ws, None), filters, [table, start, older])
    on(newest.click, partial(_list, ws, None), filters, [table, start, older])
    on(older.click, partial(_older, ws), [start, *filters], [table, start, older])
    on(clicked.submit, lambda number: number, [clicked], [picked])
    shown = [detail, to, ranks, note, marks]
    on(picked.change, partial(_pick, ws), [picked], shown, trigger_mode="always_last")
    on(any_of([to], "input"), lambda outcome: gr.Textbox(visible=outcome == "ranking"), [to], [ranks])
    for done in (
        on(correct.click, partial(_correct, ws), [picked, to, ranks], [told, picked]),
        on(annotate.click, partial(_annotate, ws), [picked, note, marks], [told, picked]),
    ):
        on(done.then, partial(_list, ws, None), filters, [table, start, older])
    choices = [category, rater, session]
    return Page(partial(_open, ws), filters, [table, start, older, *choices], item=picked)


_NONE = '<p class="quiet">Choose a rating to see its answers and every event, and to correct it.</p>'


def _open(ws: Workspace, *filters: Any) -> list[Any]:
    """Show the list, and what it can be filtered by."""
    with ws.read() as db:
        named = [name for name in prompts.list_categories(db) if name]
        numbers = [("any session or none", 0), *((f"session {each.id}", each.id) for each in sessions.list_all(db))]
        raters = history.raters(db)
    return [
        *_list(ws, None, *filters),
        gr.Dropdown([("any category", ""), *named]),
        gr.Dropdown([("any rater", ""), *raters]),
        gr.Dropdown(numbers),
    ]


def _older(ws: Workspace, start: int | None, *filters: Any) -> list[Any]:
    return _list(ws, start, *filters)


def _list(ws: Workspace, before: int | None, *filters: Any) -> list[Any]:
    """Return a page of ratings, where the next one begins, and whether there is one."""
    search, outcome, category, rater, since, until, flag, session, changed = filters
    try:
        wanted = Filter(search, outcome, rater, category, since.strip(), until.strip(), flag, session or None, changed)
    except RatingError as error:
        return [html.notice(str(error), "bad"), None, gr.Button(interactive=False)]
    with ws.read() as db:
        found = history.find(db, wanted, limit=PAGE_SIZE + 1, before=before)
    shown = found[:PAGE_SIZE]
    if not shown:
        text = html.empty("No rating matches", "Loosen the filters, or rate some pairs first.")
        return [text, None, gr.Button(interactive=False)]
    rows = "".join(map(_row, shown))
    more = len(found) > PAGE_SIZE
    return [f'<div class="history">{rows}</div>', shown[-1].id, gr.Button(interactive=more)]


def _row(entry: Entry) -> str:
    marks = html.tags(
        [
            entry.category,
            entry.arm if entry.arm in ("repeat", history.SECOND_LOOK) else "",
            "note" if entry.note else "",
        ]
    )
    return (
        f'<button type="button" class="rated" data-rating="{entry.id}"><span class="verdict is-{escape(entry.outcome)}">'
        f'{escape(entry.verdict)}</span><span class="asked">{escape(_first(entry.messages[-1]["content"]))}</span>'
        f'<span class="about">{marks}<span class="num quiet">{entry.id} · {escape(entry.rater)} · '
        f"{html.ago(entry.created_at)}</span></span></button>"
    )


def _pick(ws: Workspace, picked: str) -> list[Any]:
    """Show the chosen rating, and the fields that change it as they stand."""
    if not picked.strip():
        return [_NONE, *_nothing_picked()]
    try:
        with ws.read() as db:
            entry = history.get(db, history.number(picked.strip()), is_undone_too=True)
            texts, events = history.texts(db, entry), history.events(db, entry.id)
    except RatingError as error:
        return [html.notice(str(error), "bad"), *_nothing_picked()]
    is_ranking = len(texts) > 2
    flags = entry.remarks.flags
    return [
        _detail(entry, texts, events),
        gr.Dropdown(RANK_CORRECTIONS if is_ranking else CORRECTIONS, value="ranking" if is_ranking else BETTER),
        gr.Textbox(ranking_words(entry.ranks) if entry.ranks else "", visible=is_ranking),
        gr.Textbox(entry.note),
        gr.CheckboxGroup(
            [
                (f"{vocabulary.answer(at, len(texts))} {flag}", f"{flag}:{at}")
                for at in range(len(texts))
                for flag in vocabulary.FLAGS
            ],
            value=[f"{flag}:{at}" for flag, positions in flags.items() for at in positions],
        ),
    ]


def _nothing_picked() -> list[Any]:
    """Show the fields that change a rating, where none is chosen."""
    ranks, note = gr.Textbox("", visible=False), gr.Textbox("")
    return [gr.Dropdown(CORRECTIONS, value=BETTER), ranks, note, gr.CheckboxGroup([], value=[])]


def _detail(entry: Entry, texts: tuple[str, ...], events: list[dict[str, Any]]) -> str:
    """Draw all answers as they stood on the screen, and every event."""
    listed = "".join(map(_event, events))
    scales = "; ".join(
        f"{name} {' '.join('–' if value is None else str(value) for value in values)}"
        for name, values in entry.remarks.attributes.items()
    )
    scales = f'<p class="quiet">Scales: {escape(scales)}</p>' if scales else ""
    took = f", after {entry.elapsed_ms / 1000:.1f} s" if entry.elapsed_ms else ""
    answers = "".join(
        f"<h4>{vocabulary.answer(at, len(texts)).capitalize()}</h4><div class='answer-text'>{rendering.words(text)}</div>"
        for at, text in enumerate(texts)
    )
    return (
        f'<article class="rating-detail"><h3>{escape(entry.verdict)}</h3>{html.conversation(entry.messages)}{answers}'
        f'{scales}<p class="quiet">{escape(entry.rater)}, {escape(entry.created_at[:19])} UTC{took}, {escape(entry.split)}</p>'
        f"<details><summary>All events</summary><ol>{listed}</ol></details></article>"
    )


def _event(event: dict[str, Any]) -> str:
    strength = f" {event['strength']}" if event["strength"] else ""
    after = ", after a prediction was shown" if event["after_prediction"] else ""
    return f"<li>{escape(event['outcome'])}{strength} by {escape(event['rater'])}, {escape(event['created_at'][:19])} UTC{after}</li>"


def _correct(ws: Workspace, picked: str, to: str, ranks: str) -> list[Any]:
    """Write the correcting event; the old one stays on record."""
    if not picked.strip():
        return [html.notice("Choose a rating first.", "bad"), gr.skip()]
    outcome, _, strength = to.partition(":")
    try:
        with ws.write() as db:
            entry = history.get(db, history.number(picked.strip()))
            order = parse_ranking(ranks, len(history.texts(db, entry))) if outcome == "ranking" else None
            found = ratings.correct(db, entry.id, outcome, strength=int(strength) if strength else None, ranks=order)  # type: ignore[arg-type]  # correct checks it
    except StudioError as error:
        return [html.notice(str(error), "bad"), gr.skip()]
    return [html.notice(f"Corrected. The earlier judgement stays on record as {entry.id}.", "good"), str(found.id)]


def _annotate(ws: Workspace, picked: str, note: str, marks: list[str]) -> list[Any]:
    """Give the rating another note and other flags: a new event with the same judgement; scales stay."""
    if not picked.strip():
        return [html.notice("Choose a rating first.", "bad"), gr.skip()]
    flags: dict[str, list[int]] = {}
    try:
        for flag, _, at in (mark.partition(":") for mark in marks):
            flags.setdefault(flag, []).append(int(at))
        with ws.write() as db:
            entry = history.get(db, history.number(picked.strip()))
            found = ratings.annotate(db, entry.id, Remarks(note, flags, entry.remarks.attributes))
    except (StudioError, ValueError) as error:
        return [html.notice(str(error), "bad"), gr.skip()]
    return [html.notice(f"Saved. The earlier note and flags stay on record as {entry.id}.", "good"), str(found.id)]


def _first(text: str) -> str:
    line = " ".join(text.split())
    return line[:FIRST_LETTERS] + ("…" if len(line) > FIRST_LETTERS else "")
