"""Draws the list of runs: state, what happens or how it ended, and the course of the figure that a run is known by."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from studio.runs import metrics
from studio.runs.runs import Run
from studio.workspace import Database
from ui.components import html

CURVES = {
    "sft": ("eval/loss", "train/loss"),
    "reward": ("eval/accuracy", "train/accuracy"),
    "ppo": ("objective/score", "eval/score"),
    "dpo": ("eval/accuracy", "train/accuracy"),
}
"""Stage to the metrics whose course is drawn: the first that has two values."""
WIDTH, HEIGHT, NUM_POINTS = 64, 18, 32


class View(NamedTuple):
    """Which runs are listed, and in which order."""

    words: str
    stage: str = ""
    by: str = ""
    """The metric whose best last value comes first; empty for the newest run first."""
    is_low_best: bool = False


VIEWS = {
    "": View("all, newest first"),
    "sft": View("SFT"),
    "sft best": View("SFT, lowest held-out loss first", "sft", "eval/loss", is_low_best=True),
    "reward": View("reward models"),
    "reward best": View("reward models, highest accuracy first", "reward", "eval/accuracy"),
    "ppo": View("PPO"),
    "ppo best": View("PPO, highest held-out score first", "ppo", "eval/score"),
    "dpo": View("DPO"),
    "dpo best": View("DPO, highest accuracy first", "dpo", "eval/accuracy"),
    "sample": View("sampling"),
    "evaluate": View("evaluations"),
    "curve": View("learning curves"),
}
"""By what the page sends; those without a metric are of the stage of that name."""


def view(chosen: object) -> View:
    """Return the view of this name, whatever was sent."""
    found = VIEWS.get(chosen if isinstance(chosen, str) else "", VIEWS[""])
    return found if found.stage or found is VIEWS[""] else found._replace(stage=str(chosen))


def draw(everything: Sequence[Run], places: Mapping[str, str], courses: Mapping[int, str]) -> str:
    """Draw the rows of runs; `places` are the words of those that wait, `courses` drawn curves by the run's id."""
    rows = "".join(
        f'<a class="run-row" href="#runs/{escape(run.name)}">'
        f"<b>{escape(run.name)}</b>{html.badge(run.shown_state)}"
        f'<span class="num when">{html.ago(run.ended_at or run.started_at or run.created_at)}</span>'
        f'<span class="said{" is-told" if run.state in ("lost", "failed") else ""}" title="{escape(_doing(run, places))}">'
        f"{escape(_doing(run, places))}</span>{courses.get(run.id, '')}</a>"
        for run in everything
    )
    return f'<nav class="listing" aria-label="Runs">{rows}</nav>'


def courses(db: Database, found: Sequence[Run]) -> dict[int, str]:
    """Draw the course of each run's figure, by its id; runs without two values of it have none."""
    return {run.id: drawn for run in found if (drawn := _course(db, run))}


def _course(db: Database, run: Run) -> str:
    for name in CURVES.get(run.stage, ()):
        points = metrics.curve(db, run.id, name, NUM_POINTS)
        if len(points) > 1:
            return _spark(name, points)
    return ""


def _spark(name: str, points: list[tuple[int, float]]) -> str:
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    across, up = (WIDTH - 2) / ((steps[-1] - steps[0]) or 1), (HEIGHT - 4) / ((high - low) or 1)
    line = " ".join(f"{1 + (x - steps[0]) * across:.1f},{HEIGHT - 2 - (y - low) * up:.1f}" for x, y in points)
    words = f"{name.partition('/')[2].replace('_', ' ')} from {html.number(values[0])} to {html.number(values[-1])}"
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'<title>{escape(words)}</title><polyline points="{line}"/></svg>'
    )


def _doing(run: Run, places: Mapping[str, str]) -> str:
    if run.name in places:
        return places[run.name]
    if run.is_ending:
        return "its process is exiting"
    where = f" on {run.lane}" if run.lane.startswith("gpu") else ""
    return run.message if run.is_ended else f"{run.progress:.0%} {html.doing(run)}{where}"
