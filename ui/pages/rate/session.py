"""The session panel of the Rate page: start, pause, resume, end; the guideline; the card of what was rated."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.annotation import disagreements, guidelines, predictions, prefetch, session_summary, sessions
from studio.annotation.session_config import SessionConfig
from studio.annotation.sessions import Session
from studio.errors import StudioError
from studio.insights import active_choice
from studio.preferences import prompts
from studio.workspace import Database, Workspace
from ui.components import form, html, typed
from ui.handlers import any_of, on
from ui.page import Page
from ui.pages.rate import session_summary as drawing

ESSENTIALS = ("source", "target")
DRAFT = "guideline"
SHOWN = 20
"""Sessions that can be looked back at."""


def build(ws: Workspace) -> Page:
    """Place the panel."""
    with gr.Row(elem_classes="split"):
        with gr.Column(scale=3, min_width=300):
            now = html.html(elem_id="session-now")
            with gr.Row(elem_classes="controls"):
                moves = {
                    "resume": gr.Button(
                        "Resume", variant="primary", visible=False, elem_id="session-resume", min_width=110
                    ),
                    "pause": gr.Button("Pause", visible=False, elem_id="session-pause", min_width=110),
                    "end": gr.Button("End the session", visible=False, elem_id="session-end", min_width=140),
                }
            chosen = gr.Dropdown([], value=None, label="Card of", elem_id="session-chosen", visible=False)
            card = html.html(elem_id="session-card")
        with gr.Column(scale=2, min_width=300):
            with gr.Accordion("Start a session", elem_classes="card", elem_id="session-form") as begin:
                with ws.read() as db:
                    fields = form.build(db, SessionConfig, ESSENTIALS, "session")
                start = gr.Button("Start the session", variant="primary", elem_id="session-start")
                told = html.html(html.notice(""), elem_id="session-told")
            with gr.Accordion("Guideline", elem_classes="card", elem_id="session-guideline"):
                text = gr.Textbox(
                    "",
                    label="How you judge",
                    lines=3,
                    max_lines=12,
                    elem_id="guideline-text",
                    elem_classes=typed.FIELD,
                )
                save = gr.Button("Save the guideline", elem_id="guideline-save")
                version = html.html(html.notice(""), elem_id="guideline-told")
                gaps = html.html(elem_id="guideline-gaps")
    outputs = [now, *moves.values(), chosen, card, begin]
    values = list(fields.values())
    on(start.click, _wrong, values, [told])  # first: after wrong fields nothing else of the press is called
    begun = on(start.click, partial(_start, ws), values, [told], validator=partial(form.validate, SessionConfig))
    on(begun.then, partial(_refresh, ws), [chosen], outputs)
    for name, button in moves.items():
        moved = on(button.click, partial(_move, ws, name), None, [told])
        on(moved.then, partial(_refresh, ws), [chosen], outputs)
    on(any_of([chosen], "input"), partial(_refresh, ws), [chosen], outputs)
    typed.keep({DRAFT: text}, partial(_keep, ws))
    saved = on(save.click, partial(_save, ws), [text], [version])
    on(saved.then, partial(_gaps, ws), None, [gaps])
    dropdowns = [field for name, field in fields.items() if name in form.CHECKPOINT_STAGES]
    seen = gr.State("")
    live = (partial(_follow, ws), [seen, chosen], [seen, now, *moves.values(), chosen, card])
    [stored] = typed.stored([text])
    shown = [*outputs, stored, version, gaps, *dropdowns]
    return Page(partial(_open, ws), [chosen, *dropdowns], shown, live=live, typed={text: stored})


def _wrong(*values: Any) -> Any:
    """Say which fields are wrong; nothing where none is."""
    return form.submit(SessionConfig, values, lambda _: gr.skip())


def _open(ws: Workspace, chosen: int | None, *names: str) -> list[Any]:
    """Show the panel as it is now, with what was being typed and new choices of checkpoints."""
    with ws.read() as db:
        found = guidelines.current(db)
        text = prompts.load_draft(db, DRAFT) or found.text
    fields = [name for name in SessionConfig.model_fields if name in form.CHECKPOINT_STAGES]
    choices = form.refreshed(ws, SessionConfig, dict(zip(fields, names, strict=True)))
    return [*_refresh(ws, chosen), text, _version(found), _gaps(ws), *choices]


def _follow(ws: Workspace, seen: str, chosen: int | None) -> list[Any]:
    """Update what changed since it was drawn: votes in another tab, pairs being sampled. The form stays as it is."""
    drawn = _refresh(ws, chosen)[:-1]
    now, card = drawn[0], drawn[-1]
    if seen == now + card:
        return [gr.skip()] * (len(drawn) + 1)
    return [now + card, *drawn]


def _refresh(ws: Workspace, chosen: int | None) -> list[Any]:
    """Show the session's state, the buttons that fit, and the card of the chosen session, else of the newest one."""
    with ws.read() as db:
        everything = sessions.list_all(db)[:SHOWN]
        session = _active(db, everything)
        chosen_one = next((each for each in everything if each.id == chosen), None)
        drawn = chosen_one or session or next(iter(everything), None)
        card = _card(db, drawn)
    status = session.state if session else ""
    labels = {"resting": "Next block", "paused": "Resume"}
    return [
        _now(ws, session),
        gr.Button(labels.get(status, "Resume"), visible=status in labels),
        gr.Button(visible=status in ("running", "resting", "done")),
        gr.Button(visible=bool(status)),
        gr.Dropdown(
            [(each.sentence.rstrip("."), each.id) for each in everything],
            value=drawn.id if drawn else None,
            visible=len(everything) > 1,
        ),
        card,
        gr.Accordion(open=session is None),
    ]


def _active(db: Database, everything: list[Session]) -> Session | None:
    """Return the active session, else the newest that is paused."""
    return sessions.active(db) or next((each for each in everything if each.state == "paused"), None)


def _now(ws: Workspace, session: Session | None) -> str:
    if session is None:
        return html.empty(
            "No session is running",
            "A session has a target and blocks with a rest between them. It chooses the most informative pairs, mixed with a random "
            "share, shows a tenth of them twice to measure how consistent you are, and ends with a card. Without one you rate whatever is waiting.",
        )
    config = session.config
    share = min(session.num_given / config.target, 1.0)
    with ws.read() as db:
        why = sessions.why_nothing(db, session)
    behind = prefetch.explain(ws, session, why)
    with ws.read() as db:
        predicted = _predicted(db, config)
    source = {
        "any": "any waiting pairs",
        "imported": "imported pairs",
        "policy": f"two answers of {config.checkpoint}",
        "policy_vs_sft": f"{config.checkpoint} against {config.opponent}",
    }[config.source]
    ranked = f"rankings of up to {config.rank}" if config.rank else ""
    facts = [
        source,
        ranked,
        "all at random" if config.choose == "random" else f"{config.random_share:.0%} at random",
        f"{config.repeat_share:.0%} repeats",
        f"{config.second_looks:.0%} second looks" if config.second_looks and not config.rank else "",
        config.categories,
    ]
    return (
        f'<section class="session-now is-{session.state}"><h2>{escape(session.sentence)}</h2>'
        f'<div class="meter"><i style="width:{share:.1%}"></i></div><p>{html.tags(facts)}</p>'
        f'{_reason(session)}<p class="quiet">{escape(predicted)}</p>{html.notice(behind) if behind else ""}</section>'
    )


def _predicted(db: Database, config: SessionConfig) -> str:
    """Say how many pairs the newest reward model has predicted; empty where there is none and the session needs none."""
    counted = predictions.counts(db)
    if counted["predictions"] or counted["waiting"]:
        return f"{counted['predictions']:,} pairs have a prediction; {counted['waiting']:,} pairs are waiting for one."
    needs_one = config.choose in ("uncertainty", "margin", "information")
    return "There is no reward model yet, so pairs are chosen at random." if needs_one else ""


def _reason(session: Session) -> str:
    return f'<p class="quiet session-reason">{escape(session.reason)}</p>' if session.reason else ""


def _card(db: Database, session: Session | None) -> str:
    if session is None:
        return ""
    reason = "" if session.state != "ended" else _reason(session)
    card = reason + drawing.panel(session_summary.card(db, session.id), f"Card of session {session.id}")
    if session.state != "resting" or session.num_given <= session.config.block_size:
        return card
    block = session_summary.card(db, session.id, last=session.config.block_size)
    return drawing.panel(block, "Card of this block") + card


def _start(ws: Workspace, *values: Any) -> str:
    return form.submit(SessionConfig, values, partial(_start_session, ws))


def _start_session(ws: Workspace, config: SessionConfig) -> str:
    with ws.write() as db:
        session = active_choice.start_session(db, config)
    with ws.read() as db:
        why = "" if prefetch.is_sampled(session) else sessions.why_nothing(db, session)
    prefetch.look_after(ws)
    if why:
        return html.notice(f"Session {session.id} has started, but has nothing to show. {why}", "bad")
    return html.notice(f"Session {session.id} has started. Rate under Pairs.", "good")


def _move(ws: Workspace, name: str) -> str:
    moves = {"resume": sessions.resume, "pause": sessions.pause, "end": sessions.end}
    try:
        with ws.write() as db:
            session = _active(db, sessions.list_all(db))
            if session is None:
                return html.notice("There is no session. Start one.", "bad")
            return html.notice(moves[name](db, session.id).sentence, "good")
    except StudioError as error:
        return html.notice(str(error), "bad")


def _keep(ws: Workspace, name: str, text: str) -> None:
    """Keep what is being written; the guideline in force itself is no draft, and must not hide the next one."""
    with ws.write() as db:
        in_force = guidelines.current(db).text
        prompts.save_draft(db, name, "" if text == in_force else text)


def _save(ws: Workspace, text: str) -> str:
    try:
        with ws.write() as db:
            found = guidelines.write(db, text)
            prompts.save_draft(db, DRAFT, "")
    except StudioError as error:
        return html.notice(str(error), "bad")
    return _version(found)


def _version(found: guidelines.Guideline) -> str:
    which = f"Version {found.version}" if found.version else "The built-in guideline"
    return html.notice(f"{which} is in force. Older versions stay with the ratings given under them.")


def _gaps(ws: Workspace) -> str:
    """List the pairs of which the guideline did not say enough."""
    with ws.read() as db:
        found = disagreements.gaps(db)
    if not found:
        return ""
    rows = "".join(
        f"<li>{escape(drawing.first(gap.prompt))} <span class='quiet'>{gap.created_at[:10]}, "
        f"{f'version {gap.guideline_id} was written for it' if gap.guideline_id else 'no line yet'}</span></li>"
        for gap in found
    )
    return f"<h4>Pairs for which it did not say enough</h4><ul class='gaps'>{rows}</ul>"
