"""Says, under Start, how much a run would have to do and what it takes over from its checkpoint."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr
from pydantic import ValidationError

from modules.config import STAGES
from studio.errors import StudioError
from studio.models import parents
from studio.runs import extent, prepare
from studio.workspace import Workspace
from ui.components import form, html
from ui.handlers import any_of, on


def watched(stage: str) -> list[str]:
    """Return the names of the fields that it depends on, in the order of the class."""
    return [name for name in STAGES[stage].model_fields if name in form.CHECKPOINT_STAGES or name in extent.FIELDS]


def build(ws: Workspace, stage: str, fields: dict[str, Any]) -> gr.HTML:
    """Place the lines, which follow the fields."""
    lines = html.html("", elem_id=f"taken-{stage}")
    inputs = [fields[name] for name in watched(stage)]
    on(any_of(inputs, "change"), partial(words, ws, stage), inputs, [lines])
    return lines


def words(ws: Workspace, stage: str, *values: Any) -> str:
    """Return the lines for the values of the fields `watched` names; empty where the run could not start as it is."""
    given = {
        name: value or "" if name in form.CHECKPOINT_STAGES else value
        for name, value in zip(watched(stage), values, strict=True)
    }
    try:
        config = STAGES[stage].model_validate(given)
        found = prepare.inherited(ws, config)
        said = [extent.sentence(ws, config), parents.sentence(found) if found else ""]
    except (ValidationError, StudioError):  # starting the run will say so
        return ""
    return "".join(f'<p class="quiet">{escape(line)}</p>' for line in said if line)
