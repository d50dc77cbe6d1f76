"""Evaluate: choose checkpoints and suites, start, and read the table, the forest plot and the flips."""

from functools import partial
from typing import Any

import gradio as gr

from modules.config import EvaluateConfig
from studio.errors import StudioError
from studio.evaluation import comparison, distances, report, results, suites
from studio.models import checkpoint_pages as shelf
from studio.models import checkpoints
from studio.models.base_names import BASE, shown
from studio.page_reads import Shared
from studio.runs import launcher, prepare, run_pages
from studio.workspace import Database, Workspace
from ui import file_access
from ui.components import dropdown, form, html
from ui.handlers import any_of, on
from ui.page import Page
from ui.pages.evaluate import drawing, earned, win_rates

_shared = Shared(3600.0)
LEAD = (
    "Measures checkpoints item by item, so that any two of them can be compared on the same items: what was gained, and what "
    "it cost elsewhere. More settings are on Train → Evaluate."
)

NOTHING = "Nothing is measured yet, so there is nothing to write. Choose checkpoints above and press Measure first."


def build(ws: Workspace, tabs: gr.Tabs, run_chosen: gr.Textbox) -> Page:
    """Place the page.

    Args:
        ws: the workspace.
        tabs: the app's pages; a started run opens Runs.
        run_chosen: the chosen run of the Runs page.
    """
    html.html(f'<p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="fields"):
        names = _choice("Checkpoints", "Leave empty for base and the newest of SFT, DPO and PPO.", "evaluate-names")
        chosen = _choice(
            "Suites", "Leave empty for the built-in ones; blimp:FILE names a public file.", "evaluate-suites"
        )
    with gr.Row(elem_classes="controls is-labelled"):
        start = gr.Button("Measure", variant="primary", elem_id="measure", min_width=120)
        against = gr.Dropdown(
            [("the pretrained model", "")], value="", label="Compare with", elem_id="evaluate-against", min_width=220
        )
        save = gr.Button("Write report.html", elem_id="evaluate-report", min_width=150)
    going = html.html("", elem_id="evaluate-going")
    told = html.html(html.notice(""), elem_id="evaluate-told")
    forests = html.html(elem_id="evaluate-forests")
    table = html.html(elem_id="evaluate-table")
    flips = html.html(elem_id="evaluate-flips")
    drawn = [forests, table, flips]
    on(start.click, partial(_start, ws), [names, chosen], [told, going, tabs, run_chosen])
    on(save.click, partial(_write, ws), [against], [told])
    on(any_of([against], "input"), partial(_draw, ws), [against], drawn)
    votes, gains = win_rates.build(ws, tabs), earned.build(ws, tabs, run_chosen)
    return Page(
        partial(_refresh_all, ws, votes, gains),
        [names, chosen, against, *votes.inputs],
        [names, chosen, against, going, *drawn, *votes.outputs, *gains.outputs],
        item=votes.item,
    )


def _choice(label: str, info: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(
        [], value=[], multiselect=True, allow_custom_value=True, label=label, info=info, elem_id=elem_id, min_width=260
    )


def _refresh_all(
    ws: Workspace, votes: Page, gains: Page, names: Any, chosen: Any, against: Any, *others: Any
) -> list[Any]:
    return [*_refresh(ws, names, chosen, against), *votes.refresh(*others), *gains.refresh()]


def _refresh(ws: Workspace, names: Any, chosen: Any, against: Any) -> list[Any]:
    """Offer what there is now, keep what was chosen, and draw what is measured."""
    with ws.read() as db:
        policies = [BASE, *(c.name for c in shelf.page(db, *checkpoints.POLICIES))]
        measured = list(dict.fromkeys(name for suite in results.measured(db) for name in suite.subjects))
        going = _going(db)
    first = str(against or "")
    first = first if first in measured else ""
    return [
        _offer(policies, names),
        _offer(suites.offered(ws.evaluations), chosen),
        dropdown.offer([("the pretrained model", ""), *((shown(n, measured), n) for n in measured)], against, first),
        going,
        *_draw(ws, first),
    ]


def _offer(names: list[str], kept: Any) -> gr.Dropdown:
    chosen = _texts(kept)
    choices = list(dict.fromkeys([*names, *chosen]))
    return dropdown.offer(choices, kept, chosen, multiselect=True, allow_custom_value=True)


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def _draw(ws: Workspace, against: Any) -> list[str]:
    """Draw forest plots, table and flips, again only where the database has changed: intervals take their time."""
    return _shared.get(ws, str(against or ""), partial(_drawn, ws, against))


def _drawn(ws: Workspace, against: Any) -> list[str]:
    """Draw the comparison; where nothing is measured, say what belongs here."""
    try:
        with ws.read() as db:
            found = comparison.compare(db, str(against or ""))
    except StudioError:
        text = "Measure base, SFT, DPO and PPO on the same items. What changed will be shown here, with intervals and examples."
        return [html.empty("Nothing is measured yet", text), "", ""]
    with ws.read() as db:
        over_kl = drawing.over_kl(found, distances.read(db, found))
    return [drawing.forests(found) + over_kl, drawing.table(found), drawing.flips(found)]


def _start(ws: Workspace, names: Any, chosen: Any) -> list[Any]:
    """Start an evaluation and open its run; or say why not."""
    values = {"checkpoints": ", ".join(_texts(names)), "suites": ", ".join(_texts(chosen))}
    config, wrong = form.parse(
        EvaluateConfig, [values.get(name, field.default) for name, field in EvaluateConfig.model_fields.items()]
    )
    if config is None:
        return [html.notice("; ".join(wrong.values()), "bad"), *[gr.skip()] * 3]
    try:
        file_access.check_config(ws, config)
        run, _ = launcher.start_once(ws, prepare.resolve(ws, config))
    except StudioError as error:
        return [html.notice(str(error), "bad"), *[gr.skip()] * 3]
    with ws.read() as db:
        return ["", _going(db), gr.Tabs(selected="runs"), run.name]


def _going(db: Database) -> str:
    """Name the evaluations that have not ended: their results are not below yet."""
    found = [run.name for run in run_pages.at_work(db) if run.stage == "evaluate"]
    if not found:
        return ""
    words = "has not ended; its results" if len(found) == 1 else "have not ended; their results"
    return html.notice(f"{', '.join(found)} {words} appear here then.")


def _write(ws: Workspace, against: Any) -> str:
    """Write the report's files."""
    try:
        with ws.read() as db:
            if not results.measured(db):
                return html.notice(NOTHING, "bad")
            found = comparison.compare(db, str(against or ""))
        _, page = report.write(ws, found)
    except StudioError as error:
        return html.notice(str(error), "bad")
    return html.notice(f"Written to {page}", "good")
