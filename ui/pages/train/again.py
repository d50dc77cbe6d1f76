"""Takes an earlier run's settings into the form, to start it again with changes."""

from functools import partial
from typing import Any

import gradio as gr

from modules.config import STAGES
from studio.errors import RunError
from studio.runs import run_pages, runs
from studio.workspace import Database, Workspace
from ui.components import dropdown
from ui.handlers import on

NONE = ("as below", "")
FOLLOWS = "snapshot"
"""Left empty, so that ratings given since then count."""


def place(stage: str) -> gr.Dropdown:
    """Place the choice; `refreshed` offers the runs when the page is opened."""
    info = "An earlier run, to start it again with changes: all its settings go into the form."
    if FOLLOWS in STAGES[stage].model_fields:
        info += f" {FOLLOWS} stays empty, so that all ratings count."
    return gr.Dropdown(
        [NONE], value="", label="Settings of", info=info, allow_custom_value=True, elem_id=f"again-{stage}"
    )


def bind(ws: Workspace, stage: str, choice: gr.Dropdown, fields: dict[str, Any]) -> Any:
    """Put a chosen run's settings into the fields; return the event."""
    return on(choice.input, partial(_values, ws, stage), [choice], list(fields.values()))


def refreshed(db: Database, stage: str, shown: Any) -> gr.Dropdown:
    """Offer the runs that there are now; what is chosen stays."""
    offered = [NONE, *((run.name, run.name) for run in run_pages.page(db, stage=stage))]
    return dropdown.offer(offered, shown, shown)


def _values(ws: Workspace, stage: str, name: Any) -> list[Any]:
    """Return the settings of a run in the order of the form; nothing changes where none is chosen.

    Raises:
        RunError: there is no such run, or it is of another stage.
    """
    names = STAGES[stage].model_fields
    if not name:
        return [gr.skip() for _ in names]
    with ws.read() as db:
        run = runs.get(db, str(name))
    if run.stage != stage:
        raise RunError(f"{run.name} is a run of {run.stage}: choose that stage above to take its settings.")
    values = run.config.model_dump()
    return ["" if each == FOLLOWS else values[each] for each in names]
