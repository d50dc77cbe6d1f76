"""Insights: choose whose judgements, and read what they tell. Drawn when it is opened and when something new was judged."""

from functools import partial
from typing import Any

import gradio as gr

from modules.config import CurveConfig
from studio.errors import StudioError
from studio.insights import report, votes
from studio.runs import extent
from studio.workspace import Database, Workspace
from ui import static
from ui.components import dropdown, html, raters
from ui.handlers import any_of, on, served
from ui.page import Page
from ui.pages.insights import drawing

REFRESH_S = 5.0
PULSE = static.read("pulse.js").replace("EVERY_MS", f"{1000 * REFRESH_S:.0f}").replace("PAGE", "insights")
LEAD = (
    "How good the ratings are, how much of that a reward model can reach, and how it did on votes that it had predicted before. Shares "
    "come with their 95 % intervals, which take prompts, not votes, as independent."
)


def build(ws: Workspace) -> Page:
    """Place the page."""
    html.html(f'<p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="controls"):
        rater = gr.Dropdown([("everybody", "")], value="", label="Votes of", elem_id="insights-rater", min_width=220)
    drawn = html.html(elem_id="insights")
    seen = gr.Textbox("", visible=False)

    def mark(_: Any) -> dict[str, Any]:
        with ws.read() as db:
            return {"mark": report.mark(db)}

    pulse = html.html("", html_template="", js_on_load=PULSE, server_functions=[served(mark)], elem_id="insights-pulse")
    on(any_of([rater], "input"), partial(_chosen, ws), [rater], [drawn, seen])
    return Page(partial(_refresh, ws), [rater, seen], [rater, drawn, seen], pulse=pulse)


def _refresh(ws: Workspace, rater: Any, seen: str) -> list[Any]:
    """Offer who judged, and draw again where something is new."""
    with ws.read() as db:
        known = votes.raters(db)
        chosen = str(rater or "") if rater in known else ""
        offered = dropdown.offer([("everybody", ""), *((raters.words(name), name) for name in known)], rater, chosen)
        now = _mark(db, chosen)
        if now == seen:
            return [offered, gr.skip(), gr.skip()]
        return [offered, _draw(db, chosen), now]


def _chosen(ws: Workspace, rater: Any) -> list[Any]:
    with ws.read() as db:
        return [_draw(db, str(rater or "")), _mark(db, str(rater or ""))]


def _cost(db: Database) -> str:
    """Say what a learning curve would take, or what it lacks."""
    try:
        return extent.sentence(db, CurveConfig())
    except StudioError as error:
        return str(error)


def _mark(db: Database, rater: str) -> str:
    return f"{report.mark(db)} {rater}"


def _draw(db: Database, rater: str) -> str:
    refused, refused_arms = (extent.refusal(db, CurveConfig(arms=has_arms)) for has_arms in (False, True))
    try:
        return drawing.page(report.read(db, rater), "" if refused else _cost(db), refused, refused_arms)
    except StudioError as error:
        return html.notice(str(error), "bad")
