"""Takes an earlier run's settings into the form, to start it again with changes."""

from typing import Any

import gradio as gr

from modules.config import STAGES
from studio.errors import RunError
from studio.runs import run_pages, runs
from studio.workspace import Database
from ui.components import dropdown

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


def refreshed(db: Database, stage: str, shown: Any) -> gr.Dropdown:
    """Offer the runs that there are now; what is chosen stays."""
    offered = [NONE, *((run.name, run.name) for run in run_pages.page(db, stage=stage))]
    return dropdown.offer(offered, shown, shown)


def values(db: Database, stage: str, name: Any) -> dict[str, Any]:
    """Return the settings of a run for the form; empty where none is chosen.

    Raises:
        RunError: there is no such run, or it is of another stage.
    """
    if not name:
        return {}
    run = runs.get(db, str(name))
    if run.stage != stage:
        raise RunError(f"{run.name} is a run of {run.stage}: choose that stage above to take its settings.")
    found = run.config.model_dump()
    return {each: "" if each == FOLLOWS else found[each] for each in STAGES[stage].model_fields}
