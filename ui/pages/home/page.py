"""Home: the loop as a picture with live counts, what is stale, and one suggested next step."""

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio import next_step
from studio.database import high_water
from studio.datasets import starter
from studio.insights import round_figures
from studio.next_step import LoopStatus, Station
from studio.page_reads import Shared
from studio.preferences import prompts
from studio.runs import launcher, progress
from studio.runs import run_pages as shelf
from studio.runs.runs import Run
from studio.workspace import Workspace
from ui import static
from ui.components import html
from ui.handlers import on, served
from ui.page import Page
from ui.pages.home import backup, rounds

REFRESH_S = 3.0
PULSE = static.read("pulse.js").replace("EVERY_MS", f"{1000 * REFRESH_S:.0f}").replace("PAGE", "home")
_shared = Shared(REFRESH_S)
LINKS = {
    "demonstrations": "data",
    "sft": "train/sft",
    "pairs": "train/sample",
    "ratings": "rate",
    "reward": "train/reward",
    "ppo": "train/ppo",
}
LOAD = """
document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-load-starter]")) trigger("submit");
});
"""
PURPOSE = {
    "demonstrations": "Answers a person would have wanted.",
    "sft": "Imitate the demonstrations.",
    "pairs": "Two answers to one prompt.",
    "ratings": "You say which is better.",
    "reward": "Learns to predict your ratings.",
    "ppo": "Improves the policy against the reward model.",
}

BASELINE = (
    '<p id="baseline">A baseline for PPO: <a href="#train/dpo">DPO</a> learns from the same ratings, without a reward model. '
    '<a href="#evaluate">Evaluate</a> compares the two.</p>'
)
"""Under the next step once somebody has rated: DPO is no station of the loop, and would not be found."""
TOUR = '<button type="button" class="tour-begin" data-tour>Take a tour of the pages</button>, about two minutes'
BEGIN = f"""<section class="step is-first"><h2>Begin</h2><ul>
<li><button type="button" class="go is-primary" data-load-starter>Load the starter kit</button>
<span>A small model with prompts and demonstrations, on this machine already: the whole loop in minutes.</span></li>
<li><a class="go" id="next-step" href="#data">Bring your own data</a>
<span>Files, data sets, or what other tools have collected. You see what would come in before it does.</span></li>
<li><a class="go" href="#train/sft">Choose your own model</a>
<span>The first field there takes a folder or a name on the hub. It needs prompts and demonstrations too.</span></li>
</ul><p>{TOUR}</p></section>"""
"""What one may do in a workspace without anything."""


FIRST = "<!--home as it is when the page is asked for-->"
"""Stands where the server writes `first` into the page that it sends, so that Home is drawn at once."""


def build(ws: Workspace) -> Page:
    """Place the page."""
    seen = gr.Textbox("", visible=False)
    picture = html.html(FIRST, elem_id="home")
    # An empty template: it only hears the press.
    asked = html.html("", html_template="", js_on_load=LOAD)
    on(asked.submit, partial(_load_starter, ws), None, [picture, seen])
    backup.place(ws)

    def mark(_: Any) -> dict[str, Any]:
        return {"mark": _shown(ws)[1]}

    pulse = html.html("", html_template="", js_on_load=PULSE, server_functions=[served(mark)], elem_id="home-pulse")
    return Page(partial(_refresh, ws), [seen], [picture, seen], pulse=pulse)


def first(ws: Workspace) -> str:
    """Return the markup of Home as it is now."""
    return _shown(ws)[0]


def _refresh(ws: Workspace, seen: str):
    """Redraw, but only when something changed."""
    drawn, mark = _shown(ws)
    return (gr.skip(), gr.skip()) if mark == seen else (drawn, mark)


def _load_starter(ws: Workspace) -> tuple[str, str]:
    with ws.write() as db:
        if not prompts.counts(db)["prompts"]:
            starter.load(db)
    return _shown(ws)


def _shown(ws: Workspace) -> tuple[str, str]:
    """Return the page and its mark; one drawing serves all tabs."""
    return _shared.get(ws, "home", partial(_now, ws))


def _missing(ws: Workspace) -> str:
    """Say that the database lacks what was written here; empty where nothing is known to be missing."""
    said = high_water.sentence(ws.database)
    return html.notice(f"{said}. What to do is told by: rlhf-studio doctor", "bad") if said else ""


def _now(ws: Workspace) -> tuple[str, str]:
    """Return the page and its mark."""
    launcher.reap(ws)
    with ws.read() as db:
        status = next_step.status(db)
        recent = shelf.page(db, limit=5)
        left = {run.name: seconds for run in status.active if (seconds := progress.time_left(db, run)) is not None}
    drawn = (
        _missing(ws)
        + _draw(status, rounds.draw(round_figures.read(ws)), recent, left)
        + backup.line(ws)
        + _foot(status)
    )
    return drawn, str(hash(drawn))


def _draw(status: LoopStatus, by_round: str, recent: list[Run], left: Mapping[str, float]) -> str:
    stations = "".join(_station(place, station, left) for place, station in enumerate(status.stations, start=1))
    return f'<div class="loop">{stations}{_step(status)}</div>{by_round}{_recent(recent, left)}'


def _station(place: int, station: Station, left: Mapping[str, float]) -> str:
    """Draw one station: place, name, count, newest checkpoint, what it lags behind, and the run active there."""
    link = f"runs/{station.run.name}" if station.run else LINKS[station.key]
    stale = f'<p class="stale"><i aria-hidden="true"></i>{escape(station.stale)}</p>' if station.stale else ""
    work = (
        f'<p class="work">{html.badge(station.run.state)} {escape(station.run.name)}{_left(station.run, left)}</p>'
        if station.run
        else ""
    )
    bar = f'<div class="meter"><i style="width:{station.run.progress:.1%}"></i></div>' if station.run else ""
    return (
        f'<a class="station at-{station.key}" href="#{escape(link)}"><h3><span class="num">{place}</span>{escape(station.title)}</h3>'
        f'<p class="count"><b class="num">{station.count:,}</b> {escape(station.unit)}</p>'
        f'<p class="about">{_about(station)}</p>{stale}{work}{bar}</a>'
    )


def _about(station: Station) -> str:
    if not station.checkpoint:
        return escape(station.detail if station.count and station.detail else PURPOSE[station.key])
    figure = html.figure(station.key, station.metrics or {})
    return f'<span class="tag">{escape(station.checkpoint)}</span> <span class="num">{figure}</span>'


def _step(status: LoopStatus) -> str:
    step = status.step
    if step.key == "begin":
        return BEGIN
    baseline = BASELINE if status.station("ratings").count else ""
    target = f"{step.page}/{step.item}" if step.item else step.page
    others = "".join(f'<a class="go" href="#{escape(page)}">{escape(label)}</a>' for label, page in step.others)
    return (
        f'<section class="step"><h2>Next</h2><p>{escape(step.sentence)}</p>'
        f'<div class="ways"><a class="go is-primary" id="next-step" href="#{escape(target)}">{escape(step.label)}</a>{others}</div>{baseline}{_tour(status)}</section>'
    )


def _tour(status: LoopStatus) -> str:
    """Offer the tour at the next step until something was trained."""
    return "" if status.station("sft").count else f"<p>{TOUR}</p>"


def _foot(status: LoopStatus) -> str:
    """Offer the tour below everything else once something was trained."""
    return f'<p class="quiet tour-again">{TOUR}</p>' if status.station("sft").count else ""


def _left(run: Run, left: Mapping[str, float]) -> str:
    """Return the time that a run still takes, in seconds in `left`; empty where it is unknown."""
    return f", about {progress.duration(left[run.name])} left" if run.name in left else ""


def _recent(recent: list[Run], left: Mapping[str, float]) -> str:
    if not recent:
        return ""
    rows = "".join(
        f'<a class="run-row" href="#runs/{escape(run.name)}">{html.badge(run.state)}<b>{escape(run.name)}</b>'
        f'<span class="said">{escape(run.message if run.is_ended else html.doing(run) + _left(run, left))}</span>'
        f'<span class="num when">{html.ago(run.ended_at or run.started_at or run.created_at)}</span></a>'
        for run in recent
    )
    return f'<section class="recent"><h2>Latest runs</h2>{rows}</section>'
