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
from studio.workspace import Database, Workspace
from ui import rendering
from ui.components import html, paging, row_drawer
from ui.components.paging import Place
from ui.handlers import any_of, on
from ui.page import Page

PAGE_SIZE = 25
COUNTED = 10_000
"""Most matching ratings that are counted where there is a filter."""
OUTCOMES = [("any outcome", ""), *((WORDS[outcome], outcome) for outcome in vocabulary.OUTCOMES)]
CORRECTIONS = [
    *((f"{WORDS[side]} {words}", f"{side}:{n}") for side in SIDES for n, words in reversed(STRENGTHS.items())),
    *((WORDS[outcome], outcome) for outcome in (*TIES, "skip")),
]
BETTER = CORRECTIONS[1][1]
"""The correction that the field begins with."""
RANK_CORRECTIONS = [("new ranking", "ranking"), (ALL_BAD, "both_bad"), (WORDS["skip"], "skip")]
FLAGS = [("any flag", ""), *vocabulary.FLAGS]
COLUMNS = [("what", "What"), ("asked", "Prompt"), ("verdict", "Outcome"), ("when", "When"), ("who", "Who")]
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
    place = gr.State(Place())
    clicked = row_drawer.place("history", "Rating", "rate/history")
    table = html.html(elem_id="history-list")
    with gr.Row(elem_classes="controls pager"):
        newest = gr.Button("Newest", size="sm", min_width=90, elem_id="history-newest")
        newer = gr.Button("Newer", size="sm", min_width=90, elem_id="history-newer")
        older = gr.Button("Older", size="sm", min_width=90, elem_id="history-older")
        extent = html.html(elem_id="history-extent")
    with gr.Column(elem_id="history-drawer", elem_classes="drawer"):
        picked, is_changed, shown, done = _drawer(ws)
    outputs = [table, place, newer, older, extent]
    on(any_of(filters, "change", newest.click), partial(_list, ws, "newest"), [place, *filters], outputs)
    on(newer.click, partial(_list, ws, "newer"), [place, *filters], outputs)
    on(older.click, partial(_list, ws, "older"), [place, *filters], outputs)
    on(clicked.submit, partial(_open_row, ws), [clicked], [picked, *shown], trigger_mode="always_last")
    for each in done:
        drawn = on(each.then, partial(_pick_again, ws), [is_changed, picked], shown)
        on(drawn.then, partial(_list, ws, "same"), [place, *filters], outputs)
    choices = [category, rater, session]
    return Page(partial(_open, ws), [place, *filters], [*outputs, *choices])


_NONE = '<p class="quiet">Choose a rating to see its answers and every event, and to correct it.</p>'


def _drawer(ws: Workspace) -> tuple[gr.Textbox, gr.State, list[Any], list[Any]]:
    """Place what shows and changes one rating; return its number, whether the last press changed it, what showing it sets, and the
    events of such presses."""
    picked, is_changed = gr.Textbox("", visible=False), gr.State(False)
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
    on(any_of([to], "input"), lambda outcome: gr.Textbox(visible=outcome == "ranking"), [to], [ranks])
    done = [
        on(correct.click, partial(_correct, ws), [picked, to, ranks], [told, picked, is_changed]),
        on(annotate.click, partial(_annotate, ws), [picked, note, marks], [told, picked, is_changed]),
    ]
    return picked, is_changed, [detail, to, ranks, note, marks, correct, annotate, told], done


def _open(ws: Workspace, place: Place, *filters: Any) -> list[Any]:
    """Show the list, and what it can be filtered by."""
    with ws.read() as db:
        named = [name for name in prompts.list_categories(db) if name]
        numbers = [("any session or none", 0), *((f"session {each.id}", each.id) for each in sessions.list_all(db))]
        raters = history.raters(db)
    return [
        *_list(ws, "newest", place, *filters),
        gr.Dropdown([("any category", ""), *named]),
        gr.Dropdown([("any rater", ""), *raters]),
        gr.Dropdown(numbers),
    ]


def _list(ws: Workspace, move: str, place: Place, *filters: Any) -> list[Any]:
    """Return a page of ratings, where it is, whether there are newer and older ones, and how many in all.

    `move`: newest, newer, older, or same for the page that is shown.
    """
    search, outcome, category, rater, since, until, flag, session, changed = filters
    try:
        wanted = Filter(search, outcome, rater, category, since.strip(), until.strip(), flag, session or None, changed)
    except RatingError as error:
        return [html.notice(str(error), "bad"), Place(), *paging.ways(False, False), ""]
    with ws.read() as db:
        find, count = partial(history.find, db, wanted), partial(_total, db, wanted)
        found, place, is_more = paging.turn(find, count, move, place, PAGE_SIZE)
    if not found:
        text = html.empty("No rating matches", "Loosen the filters, or rate some pairs first.")
        return [text, place, *paging.ways(False, False), ""]
    drawn = row_drawer.table("Ratings", COLUMNS, list(map(_row, found)))
    return [
        drawn,
        place,
        *paging.ways(place.before > 0, is_more),
        row_drawer.extent(place.before, len(found), place.total),
    ]


def _total(db: Database, wanted: Filter) -> str:
    number = history.count(db, wanted, COUNTED + 1)
    return f"more than {COUNTED:,}" if number > COUNTED and wanted != Filter() else f"{number:,}"


def _row(entry: Entry) -> str:
    marks = html.tags([entry.category, "note" if entry.note else ""])
    when = html.ago(entry.created_at)
    cells = (
        ("what", f"{escape(entry.what)} {marks}"),
        ("asked", escape(row_drawer.first_letters(entry.messages[-1]["content"]))),
        ("verdict", f'<span class="verdict is-{escape(entry.outcome)}">{escape(entry.verdict)}</span>'),
        ("when", when),
        ("who", escape(entry.rater)),
    )
    return row_drawer.row(entry.id, cells)


def _open_row(ws: Workspace, picked: str) -> list[Any]:
    """Show a rating that was chosen in the list or by the address; what was said of the one before goes."""
    with ws.read() as db:
        return [str(picked), *_pick(db, str(picked))[:-1], html.notice("")]


def _pick_again(ws: Workspace, is_changed: bool, picked: str) -> list[Any]:
    """Show the rating as it is now; after a refusal nothing is set, so that what was typed stays."""
    if not is_changed:
        return [gr.skip()] * 8
    with ws.read() as db:
        return _pick(db, picked)


def _pick(db: Database, picked: str) -> list[Any]:
    """Show the chosen rating, and the fields that change it as they stand."""
    if not picked.strip():
        return [_NONE, *_nothing_picked()]
    try:
        entry = history.get(db, history.number(picked.strip()), is_undone_too=True)
        texts, events = history.texts(db, entry), history.events(db, entry.id)
    except RatingError as error:
        closing = row_drawer.head(0, "Rating")
        return [closing + html.notice(str(error), "bad"), *_nothing_picked()]
    is_ranking = len(texts) > 2
    flags = entry.remarks.flags
    return [
        _detail(entry, texts, events),
        gr.Dropdown(
            RANK_CORRECTIONS if is_ranking else CORRECTIONS, value="ranking" if is_ranking else _as_choice(entry)
        ),
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
        *(gr.Button(interactive=True) for _ in range(2)),
        gr.skip(),
    ]


def _as_choice(entry: Entry) -> str:
    """Return the correction that would change nothing, so that a press alone changes nothing."""
    wanted = f"{entry.outcome}:{entry.strength}" if entry.strength else entry.outcome
    return wanted if wanted in [value for _, value in CORRECTIONS] else BETTER


def _nothing_picked() -> list[Any]:
    """Show the fields that change a rating, where none is chosen."""
    ranks, note = gr.Textbox("", visible=False), gr.Textbox("")
    buttons = [gr.Button(interactive=False) for _ in range(2)]
    return [gr.Dropdown(CORRECTIONS, value=BETTER), ranks, note, gr.CheckboxGroup([], value=[]), *buttons, gr.skip()]


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
        f'<section><h4>{vocabulary.answer(at, len(texts)).capitalize()}</h4><div class="answer-text">{rendering.words(text)}</div></section>'
        for at, text in enumerate(texts)
    )
    about = f"{entry.rater}, {entry.created_at[:19]} UTC{took}, {entry.what}"
    return (
        f'<article class="rating-detail">{row_drawer.head(entry.id, entry.verdict)}'
        f'<p class="quiet">{escape(about)}</p>{html.tags([entry.category, entry.split])}'
        f'{html.conversation(entry.messages)}<div class="answers" tabindex="0" role="region" aria-label="Answers">{answers}</div>'
        f"{scales}<details><summary>All events</summary><ol>{listed}</ol></details></article>"
    )


def _event(event: dict[str, Any]) -> str:
    strength = f" {event['strength']}" if event["strength"] else ""
    after = ", after a prediction was shown" if event["after_prediction"] else ""
    return f"<li>{escape(event['outcome'])}{strength} by {escape(event['rater'])}, {escape(event['created_at'][:19])} UTC{after}</li>"


def _correct(ws: Workspace, picked: str, to: str, ranks: str) -> list[Any]:
    """Write the correcting event; the old one stays on record."""
    if not picked.strip():
        return [html.notice("Choose a rating first.", "bad"), gr.skip(), False]
    outcome, _, strength = to.partition(":")
    try:
        with ws.write() as db:
            entry = history.get(db, history.number(picked.strip()))
            order = parse_ranking(ranks, len(history.texts(db, entry))) if outcome == "ranking" else None
            found = ratings.correct(db, entry.id, outcome, strength=int(strength) if strength else None, ranks=order)  # type: ignore[arg-type]  # correct checks it
    except StudioError as error:
        return [html.notice(str(error), "bad"), gr.skip(), False]
    return [
        html.notice(f"Corrected. The earlier judgement stays on record as {entry.id}.", "good"),
        str(found.id),
        True,
    ]


def _annotate(ws: Workspace, picked: str, note: str, marks: list[str]) -> list[Any]:
    """Give the rating another note and other flags: a new event with the same judgement; scales stay."""
    if not picked.strip():
        return [html.notice("Choose a rating first.", "bad"), gr.skip(), False]
    flags: dict[str, list[int]] = {}
    try:
        for flag, _, at in (mark.partition(":") for mark in marks):
            flags.setdefault(flag, []).append(int(at))
        with ws.write() as db:
            entry = history.get(db, history.number(picked.strip()))
            found = ratings.annotate(db, entry.id, Remarks(note, flags, entry.remarks.attributes))
    except (StudioError, ValueError) as error:
        return [html.notice(str(error), "bad"), gr.skip(), False]
    return [
        html.notice(f"Saved. The earlier note and flags stay on record as {entry.id}.", "good"),
        str(found.id),
        True,
    ]
