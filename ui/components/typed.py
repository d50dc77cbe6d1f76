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


def stored(fields: Sequence[gr.Textbox]) -> list[gr.Textbox]:
    """Place hidden fields, one for each, which opening a page sets to what the workspace has.

    The fields themselves are set by the browser alone: an answer of the server may come after a key that was pressed meanwhile.
    """
    return [gr.Textbox("", visible=False) for _ in fields]


def restore(opened: Any, fields: Mapping[gr.Textbox, gr.Textbox]) -> None:
    """Show in each field, after its page was opened, what was typed last, else what its hidden one has (`stored`)."""
    ids = json.dumps([field.elem_id for field in fields])
    one = "[0]" if len(fields) == 1 else ""
    opened.then(
        None, list(fields.values()), list(fields), js=f"(...texts) => window.studio.typed.restored({ids}, texts){one}"
    )
