"""Text typed into a page's fields: a draft in the workspace, and in the browser's tab until saved (`typed.js`)."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from ui.handlers import on

FIELD = "keeps-typed"
"""The class of a field whose text is kept; such a field has an id."""


def keep(fields: Mapping[str, gr.Textbox], save: Callable[[str, str], None]) -> None:
    """Keep what is typed: `save` gets a field's name and its text."""
    for name, field in fields.items():
        saved = on(field.change, partial(save, name), [field], None, trigger_mode="always_last")
        saved.success(None, [field], None, js=f"(text) => window.studio.typed.saved({json.dumps(field.elem_id)}, text)")


def restore(opened: Any, fields: Sequence[gr.Textbox]) -> None:
    """Show what was typed last after a page was opened, where the workspace does not have it."""
    ids = json.dumps([field.elem_id for field in fields])
    one = "[0]" if len(fields) == 1 else ""
    opened.then(None, list(fields), list(fields), js=f"(...texts) => window.studio.typed.restored({ids}, texts){one}")
