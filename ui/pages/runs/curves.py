"""The curves of a run, alone or laid over those of other runs: smoothing, log scale, and how the runs' configs differ.

The points arrive thinned by `studio.runs.metrics`, at most 140 a curve, however much was logged: a run of 100,000 steps opens as fast
as one of 100, and the page has little to draw.
"""

import re
from functools import partial
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from modules.metrics import sentence
from studio.insights import learning_curves
from studio.runs import metrics, reward_evaluation, runs, seeds, steering
from studio.runs import run_pages as shelf
from studio.runs.metrics import Thinned
from studio.runs.row import MEASURING
from studio.runs.runs import Run
from studio.workspace import Database, Workspace
from ui.components import html, noise_limit
from ui.components.charts import Band, Curve, chart
from ui.handlers import any_of, on
from ui.pages.runs import groups, reliability

NUM_POINTS, NUM_POINTS_OF_MANY = 140, 70
"""Points of a curve, and of one among more than three runs."""
MIN_SMOOTHED = 10
"""Points below which a curve stays as it is: a mean of a few evaluations would hide what they say."""
MAX_OVERLAID = 9
MEASURED = ("eval/", "objective/score", "objective/kl")
"""Beginnings of the names of figures by which runs are compared."""
SHARED = ("train", "eval", "objective", "rollout")
"""Metric groups whose values of one name share a chart: train/loss and eval/loss."""
ORDER = (
    "loss",
    "score",
    "accuracy",
    "kl",
    "perplexity",
    "reward",
    "response_tokens",
    "policy loss",
    "value loss",
    "ece",
)
UNITS = {"ppo": "iteration"}
FILES = '<p class="files"><button type="button" data-file="csv">Save the points as CSV</button></p>'
ZOOM = re.compile(r"(?P<run>[a-z]{1,20}-\d{1,9}) (?P<first>\d{1,15}) (?P<last>\d{1,15})")
"""What `static/charts.js` writes when a person drags over a chart."""


def build(ws: Workspace, chosen: gr.Textbox, seen: gr.Textbox) -> None:
    """Place the section; it follows the chosen run, and is drawn again whenever `seen` says that something is new."""
    with gr.Row(elem_classes="controls curve-controls"):
        others = gr.Dropdown(
            [], value=[], multiselect=True, label="compare with", elem_id="curve-others", min_width=200
        )
        smoothing = gr.Slider(0, 0.99, 0, step=0.01, label="smoothing", elem_id="curve-smoothing", min_width=240)
        is_log = gr.Checkbox(False, label="log scale", elem_id="curve-log", min_width=130)
    zoom = gr.Textbox("", label="shown steps", elem_id="curve-zoom", elem_classes="unseen")  # set by static/charts.js
    drawn = html.html(elem_id="run-curves")
    mark = gr.Textbox("", visible=False)
    wanted = [chosen, others, smoothing, is_log, zoom]
    asked = any_of([chosen, seen, others, smoothing, is_log, zoom], "change")
    on(asked, partial(_redraw, ws), [*wanted, mark], [drawn, mark])
    owner = gr.State(None)
    on(chosen.change, partial(_choices, ws), [chosen, owner], [others])
    on(others.focus, partial(_offered, ws), [chosen], [others, owner])


def _choices(ws: Workspace, chosen: str, owner: str | None) -> Any:
    """Offer the runs to compare once another run was chosen, with none selected yet; `owner` is the run they are offered for."""
    with ws.read() as db:
        names = _names(db, chosen)
    # Gradio may report late, and twice, that a run was chosen.
    return gr.Dropdown(choices=names) if owner == chosen else gr.Dropdown(choices=names, value=[])


def _offered(ws: Workspace, chosen: str) -> list[Any]:
    """Offer the runs that there are now; returns the run that they are offered for as well."""
    with ws.read() as db:
        return [gr.Dropdown(choices=_names(db, chosen)), chosen]


def _names(db: Database, chosen: str) -> list[str]:
    """Return the other runs of the same stage, newest first."""
    run = runs.chosen_or_newest(db, chosen)
    return [other.name for other in shelf.page(db, stage=run.stage) if other.name != run.name] if run else []


def _redraw(ws: Workspace, chosen: str, others: Any, smoothing: Any, is_log: Any, zoom: Any, mark: Any) -> list[Any]:
    """Draw the charts, or nothing where they are unchanged: several events may tell of one change."""
    with ws.read() as db:
        run = runs.chosen_or_newest(db, chosen)
        names = [run.name, *(others if isinstance(others, list) else [])] if run else []
        found = shelf.named(db, list(map(str, names)))
        shown = {each.name: each for each in found if run and each.stage == run.stage}
        facts = [(n, shown[n].state, metrics.cursor(db, shown[n].id)) for n in map(str, names) if n in shown]
        now = str((facts, smoothing, bool(is_log), zoom))
        return [gr.skip(), gr.skip()] if now == mark else [draw(db, chosen, others, smoothing, is_log, zoom), now]


def draw(db: Database, chosen: str, others: Any, smoothing: Any, is_log: Any, zoom: Any = "") -> str:
    """Draw all charts of the run, with those of the others laid over them.

    `zoom` is the run's name with the first and last step that are shown; what belongs to another run is passed over.
    """
    run = runs.chosen_or_newest(db, chosen)
    if run is None:
        return ""
    wanted = set(map(str, others)) if isinstance(others, list) else set()
    laid = [other for other in shelf.named(db, sorted(wanted)) if other.stage == run.stage and other.id != run.id]
    together = [run, *laid[:MAX_OVERLAID]]
    weight = min(max(float(smoothing or 0), 0.0), 0.99)
    charts: dict[str, list[str]] = {}
    for name in sorted({name for each in together for name in metrics.names(db, each.id)}):
        if not name.endswith(("_low", "_high")) and not reward_evaluation.is_summed_up(name):
            charts.setdefault(_title(name), []).append(name)
    if not charts and run.stage == "curve":
        return f'<p class="quiet">The learning curve of {escape(run.name)} is drawn on <a href="#insights">Insights</a>.</p>'
    if not charts:
        empty = "has no curves" if run.is_ended or run.stage in ("sample", *MEASURING) else "has nothing to draw yet"
        return f'<p class="quiet">{escape(run.name)} {empty}.</p>'
    every = [name for names in charts.values() for name in names]
    bounds = [f"eval/{title}_{edge}" for title in charts for edge in ("low", "high")]
    num_points = NUM_POINTS if len(together) <= 3 else NUM_POINTS_OF_MANY
    whole = {each.name: metrics.curves(db, each.id, [*every, *bounds], num_points) for each in together}
    ends = [
        edge for values in whole.values() for curve in values.values() for edge in (curve.steps[0], curve.steps[-1])
    ]
    first, last = min(ends, default=0), max(ends, default=0)
    steps = _steps(run.name, zoom, first, last)
    found = whole if steps is None else {
        each.name: metrics.curves(db, each.id, [*every, *bounds], num_points, steps) for each in together
    }  # fmt: skip
    frame = steps or (first, last)
    titles = sorted(charts, key=lambda title: (ORDER.index(title) if title in ORDER else len(ORDER), title))
    limits = {"accuracy": noise_limit.of(learning_curves.ceiling_of(db, run))} if "accuracy" in charts else {}
    steered = [(each.step + 1, str(each)) for each in steering.of_run(db, run.id) if each.step is not None]
    drawn: dict[str, list[str]] = {}
    numbers: dict[str, list[str]] = {}
    for title in titles:
        lines = _lines(run, title, charts[title], found, weight)
        before = lines if steps is None else _lines(run, title, charts[title], whole, weight)
        limit = limits.get(title)
        is_flat = not limit and before.band is None and groups.is_flat(before.curves)
        markup = (
            groups.number(lines.title, lines.sentence, before.curves)
            if is_flat
            else chart(
                *lines, UNITS.get(run.stage, "step"), is_log=bool(is_log), limit=limit, x_range=frame,
                marks=steered, nothing="no value in these steps" if steps else "waiting for the first value",
            )
        )  # fmt: skip
        (numbers if is_flat else drawn).setdefault(groups.of(charts[title]), []).append(markup)
    trust = reliability.panel(metrics.latest(db, run.id)) if run.stage == "reward" and not laid else ""
    body = f"{_zoomed(run, steps)}{groups.draw(drawn, numbers)}{FILES}"
    shown = f'<div class="run-charts" data-run="{escape(run.name)}">{body}</div>'
    return f"{_legend(together)}{difference(db, together)}{spread(db, together)}{shown}{trust}"


def _steps(name: str, zoom: Any, first: int, last: int) -> tuple[int, int] | None:
    """Return the steps from and to which charts are shown, within those that there are where any is among them; None for all."""
    found = ZOOM.fullmatch(zoom) if isinstance(zoom, str) else None
    if not found or found["run"] != name:
        return None
    low, high = int(found["first"]), max(int(found["first"]) + 1, int(found["last"]))
    if low >= last or high <= first:
        return low, high
    return None if low <= first and high >= last else (max(low, first), min(high, last))


def _zoomed(run: Run, steps: tuple[int, int] | None) -> str:
    if steps is None:
        return ""
    words = f"{UNITS.get(run.stage, 'step').capitalize()}s {steps[0]:,} to {steps[1]:,}."
    return f'<p class="zoomed">{words} <button type="button" data-zoom-out>Show all</button></p>'


def _title(name: str) -> str:
    group, _, value = name.partition("/")
    return value if group in SHARED else f"{group} {value}"


class _Lines(NamedTuple):
    """What a chart shows of one value."""

    title: str
    sentence: str
    curves: list[Curve]
    band: Band | None


def _lines(run: Run, title: str, names: list[str], found: dict[str, dict[str, Thinned]], weight: float) -> _Lines:
    """Return of one run a line for each group, with its interval; of several runs a line for each of them."""
    shown = title.replace("_", " ")
    if len(found) > 1:
        # Of a value that is trained on and measured, the measured one is compared.
        name = next((n for n in names if n.startswith("eval/")), names[0])
        curves = [_curve(owner, values.get(name), weight) for owner, values in found.items()]
        return _Lines(f"{shown} ({name.partition('/')[0]})", sentence(name), curves, None)
    values = found[run.name]
    curves = [
        _curve(name.partition("/")[0] if len(names) > 1 else "", values[name], weight)
        for name in sorted(names, reverse=True)
        if name in values
    ]
    said = " ".join(filter(None, map(sentence, sorted(names, reverse=True))))
    return _Lines(shown, said, curves, _band(title, names, values))


def _curve(name: str, values: Thinned | None, weight: float) -> Curve:
    """Return a named line, smoothed where that is wanted and there are points enough."""
    if values is None:
        return Curve(name, [])
    smoothed = smooth(values, weight) if weight and len(values.steps) >= MIN_SMOOTHED else []
    return Curve(name, _points(values.steps, values.means), smoothed, values.newest)


def _band(title: str, names: list[str], values: dict[str, Thinned]) -> Band | None:
    """Return the interval of a measured value, or the range of a thinned curve that stands alone."""
    low, high = values.get(f"eval/{title}_low"), values.get(f"eval/{title}_high")
    if low and high:
        return Band(_points(low.steps, low.means), _points(high.steps, high.means))
    alone = values.get(names[0]) if len(names) == 1 else None
    if alone is None or alone.lows == alone.highs:
        return None
    return Band(_points(alone.steps, alone.lows), _points(alone.steps, alone.highs))


def _points(steps: list[int], values: list[float]) -> list[tuple[int, float]]:
    return list(zip(steps, values, strict=True))


def smooth(curve: Thinned, weight: float) -> list[tuple[int, float]]:
    """Smooth each value by a running mean that keeps `weight` of the past, without a bias to the start."""
    mean = norm = 0.0
    points = []
    for step, value in zip(curve.steps, curve.means, strict=True):
        mean, norm = weight * mean + (1 - weight) * value, weight * norm + (1 - weight)
        points.append((step, mean / norm))
    return points


def _legend(together: list[Run]) -> str:
    if len(together) < 2:
        return ""
    items = "".join(f'<li><i class="c{n}"></i>{escape(run.name)}</li>' for n, run in enumerate(together))
    return f'<ul class="overlaid">{items}</ul>'


def spread(db: Database, together: list[Run]) -> str:
    """Say how far the figures of compared runs spread that differ in nothing but the seed; empty where none do."""
    return "".join(f'<p class="quiet">{escape(group.sentence)}</p>' for group in seeds.groups(db, together))


def difference(db: Database, together: list[Run]) -> str:
    """Draw the settings in which the runs differ and their last figures, as tables; empty for one run."""
    if len(together) < 2:
        return ""
    configs = [run.config.model_dump() for run in together]
    names = [name for name in configs[0] if len({str(config.get(name)) for config in configs}) > 1]
    settings = [(name, [str(config.get(name)) for config in configs]) for name in names]
    last = [metrics.latest(db, run.id) for run in together]
    measured = sorted({name for values in last for name in values if name.startswith(MEASURED)})
    figures = [(name, [html.number(values.get(name)) for values in last]) for name in measured]
    same = "" if settings else '<p class="quiet">These runs have the same settings.</p>'
    return same + "".join(
        _table(title, first, [run.name for run in together], rows)
        for title, first, rows in (("Settings that differ", "setting", settings), ("Last figures", "figure", figures))
        if rows
    )


def _table(title: str, first: str, runs_: list[str], rows: list[tuple[str, list[str]]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in (first, *runs_))
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
        for name, values in rows
    )
    return (
        f'{html.wide(title)}<table class="difference"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
