"""Keeps what a form holds in the browser's tab (`forms.js`), so that a reload shows it again."""

import json
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic.fields import FieldInfo

from modules.config import STAGES
from ui.components import html

RESTORE = """
props.value = window.studio.forms.kept("STAGE") ?? {};
trigger("submit");
"""


def place(stage: str) -> gr.HTML:
    """Place what brings kept values when the form is first shown: its value at `submit`, a dict by field name, empty without any."""
    # An empty template: it only carries the values.
    return html.html({}, html_template="", js_on_load=RESTORE.replace("STAGE", stage), elem_id=f"kept-{stage}")


def keeping(stage: str) -> str:
    """Return the script that keeps the form's values on their way to the server."""
    names = json.dumps(list(STAGES[stage].model_fields))
    return f"(...values) => window.studio.forms.keep({json.dumps(stage)}, {names}, values)"


def values(stage: str, given: Any) -> dict[str, Any]:
    """Return kept values for the form's fields; what is no field, or no value of one, is left out."""
    fields = STAGES[stage].model_fields
    found = given if isinstance(given, dict) else {}
    return {name: found[name] for name, field in fields.items() if name in found and _fits(field, found[name])}


def _fits(field: FieldInfo, value: Any) -> bool:
    """Whether the field's component can show the value; it need not be a valid one."""
    if get_origin(field.annotation) is Literal:
        return value in get_args(field.annotation)
    if field.annotation in (int, float):
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return isinstance(value, bool if field.annotation is bool else str)
