"""Runs: every run with its state in words and shape; of the chosen one the live curves, samples, log and controls.

All of it is read from the workspace, so a reload or a restart of the server changes nothing. The timer redraws only what
is new; opening the page marks runs whose process is gone as lost.
"""

import json
import time
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio import next_step, settings
from studio.chat.resident import Resident
from studio.checkup import findings
from studio.models import checkpoints
from studio.next_step import Step
from studio.page_reads import PAGE, Shared
from studio.runs import changes, launcher, metrics, progress, queue, runs
from studio.runs import run_pages as shelf
from studio.runs.runs import Run
from studio.workspace import Database, Workspace
from ui import static
from ui.components import html, notifications, pager
from ui.handlers import on, served
from ui.page import Page
from ui.pages.runs import bundle, checkup, curves, listing, rollouts
from ui.pages.runs import controls as run_controls
from ui.pages.runs import log as run_log
from ui.pages.runs.listing import View

REFRESH_S = 2.0
_shared = Shared(1.0)
"""The log and the processes are checked again after a second, whatever the database says."""
QUIET_S = 20.0
"""Seconds between two looks while no run is active; the bell (`ui.components.notifications`) reports new runs."""
PULSE_S = 10.0
"""Seconds after which time left, speed and memory are shown again, even when no step has ended."""


OPENER = static.read("open_run.js")


def build(ws: Workspace, chosen: gr.Textbox, resident: Resident) -> Page:
    """Place the page; `chosen` holds the name of the run that is shown, empty for the newest; `resident` reads responses again."""
    chosen.render()

    def show(request: Any) -> dict[str, Any]:
        return {"parts": _show(ws, request)}

    html.html("", html_template="", js_on_load=OPENER, server_functions=[served(show)], elem_id="run-opener")
    seen = gr.Textbox("", visible=False)
    timer = gr.Timer(REFRESH_S, active=False)
    with gr.Row(elem_classes="split runs"):
        with gr.Column(scale=2, min_width=280, elem_classes="side"):
            html.html(notifications.ASK)
            view = gr.Dropdown(
                [(each.words, name) for name, each in listing.VIEWS.items()], value="", label="show", elem_id="run-view"
            )
            pages = pager.build("runs", "Search the runs")
            rows = html.html(elem_id="run-list")
        with gr.Column(scale=5, min_width=320, elem_id="run"):
            controls = run_controls.build()
            with gr.Tabs(elem_classes="sub"):
                with gr.Tab("Curves"):
                    pulse = html.html(elem_id="run-pulse")
                    curves.build(ws, chosen, seen)
                with gr.Tab("Samples"):
                    samples = html.html(elem_id="run-samples")
                with gr.Tab("Rollouts"):
                    rollouts.build(ws, chosen, seen, resident)
                with gr.Tab("Log"):
                    run_log.build(ws, chosen, seen)
                    log = html.html(elem_id="run-log")
                with gr.Tab("Config"):
                    bundle.build(ws, chosen)
                    config = html.html(elem_id="run-config")
    inputs = [chosen, seen, controls.origin, view, *pages.inputs]
    outputs = [rows, controls.head, pulse, samples, log, config, *controls.components, timer, seen, *pages.outputs]
    pages.bind(partial(_choose, ws), inputs, outputs, view)
    picked = on(chosen.change, partial(_choose, ws), inputs, outputs)
    # Behind it: a page that Start opens is not open yet when its run is chosen.
    picked.then(None, [chosen], None, js="(name) => window.studio.chosen('runs', name)")
    controls.bind(ws, chosen, lambda name, _, *rest: _refresh(ws, name, "", *rest), inputs, outputs)
    return Page(partial(_refresh, ws), inputs, outputs, timer=timer, item=chosen)


def _refresh(
    ws: Workspace,
    chosen: str,
    seen: str,
    origin: str | None = None,
    view: Any = "",
    search: str = "",
    offset: float = 0,
) -> list[Any]:
    """Redraw what the page shows, or nothing when nothing changed since `seen`; tabs that show the same share one drawing."""
    asked = (str(chosen), str(origin or ""), listing.view(view), str(search or ""), pager.place(offset))
    signature, drawn, rest = _shared.get(ws, asked, partial(_now, ws, *asked))
    before = seen.split()
    if before[:1] == [signature]:
        return [gr.skip()] * (13 + run_controls.COUNT)
    marks = [str(hash(part)) for part in drawn]
    changed = [gr.skip() if [mark] == before[n : n + 1] else drawn[n - 1] for n, mark in enumerate(marks, start=1)]
    controls, pace, moved = rest
    return [*changed, *controls, pace, " ".join([signature, *marks]), *moved]


def _now(
    ws: Workspace, chosen: str, origin: str, view: View, word: str, start: int
) -> tuple[str, list[Any], tuple[Any, ...]]:
    """Return a signature of what is shown, the parts drawn of it, and the controls, the pace and the pager."""
    launcher.reap(ws)
    with ws.read() as db:
        found = shelf.page(
            db, stage=view.stage, search=word, limit=PAGE + 1, offset=start, by=view.by, is_low_first=view.is_low_best
        )
        listed, going, places = found[:PAGE], shelf.at_work(db), queue.places(db)
        run = runs.chosen_or_newest(db, chosen)
        is_going = bool(going or runs.list_ending(db))
    if not start and not word and not view.stage:  # an active run is seen at once, however long ago it was made
        listed = sorted({run.id: run for run in (*listed, *going)}.values(), key=lambda run: -run.id)
    signature = _signature(ws, [*listed, *going], run, [start, word, view, len(found), places])
    detail = _detail(ws, run) if run else [_unknown(chosen), *[""] * 4]
    nothing = '<p class="quiet">There are no such runs yet.</p>' if view.stage else ""
    if word:
        nothing = html.empty("Nothing found", f"No run has “{word.strip()}” in its name or state.")
    with ws.read() as db:
        courses = listing.courses(db, listed)
    rows = listing.draw(listed, places, courses) if listed else nothing
    pace = gr.Timer(REFRESH_S if is_going else QUIET_S)
    with ws.read() as db:
        return (
            signature,
            [rows, *detail],
            (run_controls.states(db, run, origin), pace, pager.states(start, len(found), word)),
        )


def _show(ws: Workspace, request: Any) -> dict[str, str]:
    """Return a run's drawn parts by element id, for `static/open_run.js`, which opens a run before Gradio does."""
    asked = request if isinstance(request, dict) else {}
    smoothing = asked.get("smoothing")
    weight = smoothing if isinstance(smoothing, float | int) else 0
    with ws.read() as db:
        run = runs.get(db, str(asked.get("name")))
        drawn_curves = curves.draw(db, run.name, [], weight, asked.get("is_log"), asked.get("zoom"))
    drawn = dict(zip(("run-head", "run-pulse", "run-samples", "run-log", "run-config"), _detail(ws, run), strict=True))
    return drawn | {"run-curves": drawn_curves}


def _choose(ws: Workspace, chosen: str, seen: str, *rest: Any) -> list[Any]:
    """Draw what is not on the page already, such as the list, after another run or page was chosen."""
    return _refresh(ws, chosen, " ".join(["another", *seen.split()[1:]]), *rest)


def _signature(ws: Workspace, everything: list[Run], run: Run | None, page: list[Any]) -> str:
    facts: list[Any] = [
        [r.id, r.shown_state, r.progress, r.progress_text, r.message, r.stop_requested, r.pause_requested, r.place]
        for r in everything
    ]
    facts += page
    if run:
        with ws.read() as db:
            facts += [
                run.id,
                launcher.trouble(run),
                metrics.cursor(db, run.id),
                len(metrics.list_samples(db, run.id)),
                runs.tail_log(ws, run.name),
                run.state == "running" and int(time.time() / PULSE_S),
                step.sentence if (step := _next(db, run)) else "",
            ]
    return str(hash(json.dumps(facts)))


def _unknown(chosen: str) -> str:
    """Say that there is no such run: an address may be mistyped, or another workspace's."""
    return (
        html.notice(f"There is no run named {chosen[:60]!r} in this workspace. Choose one from the list.", "bad")
        if chosen
        else _nothing()
    )


def _nothing() -> str:
    text = "A run trains one stage of the loop in its own process: close this tab and it keeps running."
    return html.empty("No runs yet", text, "train", "Start the first run")


def _detail(ws: Workspace, run: Run) -> list[Any]:
    with ws.read() as db:
        return [_head(db, run), _pulse(db, run), _samples(db, run), _log(ws, run), _config(ws, run)]


def _head(db: Database, run: Run) -> str:
    said = f'<p class="message">{escape(run.message)}</p>' if run.is_ended else html.progress(run, _left(db, run))
    if step := _next(db, run):
        target = f"{step.page}/{step.item}" if step.item else step.page
        said += f'<p class="message">Next: <a href="#{escape(target)}">{escape(step.label)}</a></p>'
    if run.is_ending:
        said = html.notice("It has ended; waiting for its process to exit and free its memory.")
    if run.deleted_at:
        said += html.notice(checkpoints.was_deleted(f"Run {run.name}", run.deleted_at))
    if trouble := launcher.trouble(run):
        said += html.notice(trouble, "bad")
    origin = checkpoints.name_of(db, run.resumed_from)
    went_on = f"continues {origin}{changes.said(run, runs.get(db, origin.partition('@')[0]))}" if origin else ""
    facts = html.tags([went_on, f"on {run.lane}" if run.lane else ""])
    chosen = f'<style>.listing a[href="#runs/{escape(run.name)}"]{{background:var(--tint);border-radius:5px;border-color:transparent}}</style>'
    if run.stage != "ppo":
        chosen += "<style>#run :is(.rollout-filters,.rollout-side,.more){display:none!important}</style>"
    return (
        f'{chosen}<div class="head"><h2>{escape(run.name)}</h2>{html.badge(run.shown_state)}{facts}'
        f'<span class="num when">{"started" if run.started_at else "created"} {html.ago(run.started_at or run.created_at)}</span></div><div class="now">{said}</div>'
    )


def _next(db: Database, run: Run) -> Step | None:
    """Return the next step of the loop after the newest run; nothing for older ones, and for one that did not finish."""
    newest = runs.chosen_or_newest(db, "")
    if run.state != "finished" or run.deleted_at or newest is None or newest.id != run.id:
        return None
    return next_step.status(db).step


def _left(db: Database, run: Run) -> str:
    """Say how long the run still takes; before its first step, how long the last one of its stage took to get there."""
    seconds = progress.time_left(db, run)
    if seconds is not None:
        return f"about {progress.duration(seconds)} left"
    took = progress.first_step_after(db, run)
    return "" if took is None else f"the first step came after {progress.duration(took)} in the last run of this stage"


def _pulse(db: Database, run: Run) -> str:
    """Draw time left, speed, where the time goes, memory, and what looks wrong."""
    found = progress.read(db, run)
    pace = f'<p class="pulse num">{escape(" · ".join(found.words()))}</p>' if found else ""
    wrong = findings.of_run(db, run)
    versus = checkpoints.last_name(db, run.id), checkpoints.parents_of_run(db, run.id).get("sft", "")
    return pace + checkup.panel(run.name, wrong, checkup.curves_of(db, run, wrong), versus)


def _samples(db: Database, run: Run) -> str:
    return run_log.samples(db, run.id)


def _log(ws: Workspace, run: Run) -> str:
    text = runs.tail_log(ws, run.name)
    return f'<pre class="log"><code>{escape(text) or "The log is empty."}</code></pre>'


def _config(ws: Workspace, run: Run) -> str:
    values = run.config.model_dump()
    rows = "".join(
        f"<dt{' class=is-changed' if value != type(run.config).model_fields[name].default else ''}>{escape(name)}</dt>"
        f"<dd>{escape(str(value)) or '–'}</dd>"
        for name, value in values.items()
    )
    written = run.config.model_dump_json(indent=2)
    return (
        f'<p class="quiet">Code {escape(run.revision)}. Marked fields differ from their defaults. To start it again with changes, open <a href="#train/{escape(run.stage)}">Train</a> and choose {escape(run.name)} under “Settings of”.</p><dl class="config">{rows}</dl>'
        f'<div class="command"><h4>The same from a terminal</h4>{html.copyable(settings.command_line(ws, run.config))}'
        f"<h4>Its config, for --config</h4>{html.copyable(written)}</div>"
    )
