"""Lists the settings that differ from their defaults, marks them in the form, and sets them back."""

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from modules.config import STAGES, StageConfig
from studio import settings
from ui.components import html, labels
from ui.handlers import on

ALL = "*"
RESET = """
document.addEventListener("click", (event) => {
  const asked = event.target.closest?.("button[data-reset]")?.dataset.reset.split("/");
  if (asked?.[0] !== "STAGE") return;
  props.value = asked[1];
  trigger("submit");
});
"""


def build(stage: str, fields: dict[str, Any], choices: Sequence[gr.Dropdown]) -> tuple[gr.HTML, Any]:
    """Place the list, and what hears a press on one of its buttons.

    Args:
        stage: whose form it is.
        fields: the form.
        choices: what fills the form at once; they are emptied with it.

    Returns:
        The list, which `draw` fills, and the event that sets fields back.
    """
    shown = html.html("", elem_id=f"changed-{stage}")
    # An empty template: it only carries the name of the field.
    asked = html.html("", html_template="", js_on_load=RESET.replace("STAGE", stage))
    outputs = [*fields.values(), *choices]
    reset = on(asked.submit, partial(_reset, stage, len(choices)), [asked], outputs, trigger_mode="multiple")
    return shown, reset


def draw(stage: str, config: StageConfig) -> str:
    """Draw the settings that differ from their defaults; empty where none does."""
    found = settings.changed(config)
    if not found:
        return ""
    marked = ", ".join(f"#{stage}-{name}" for name in found)
    items = "".join(_item(stage, name, value) for name, value in found.items())
    every = f'<button type="button" data-reset="{stage}/{ALL}">reset all</button>' if len(found) > 1 else ""
    style = f"<style>:is({marked}) {{ --changed: 'changed'; }}</style>"
    return f"{style}<h4>Changed from the defaults</h4><ul>{items}</ul>{every}"


def _item(stage: str, name: str, value: object) -> str:
    words = escape(labels.label(name))
    text = str(value) if len(str(value)) <= 40 else f"{str(value)[:39]}…"
    return (
        f'<li><span>{words}</span> <code>{escape(text)}</code> <button type="button" data-reset="{stage}/{name}"'
        f' aria-label="Reset {words}">reset</button></li>'
    )


def _reset(stage: str, num_choices: int, name: Any) -> list[Any]:
    """Set one field back, or all and what had filled them."""
    return [*_defaults(stage, name), *["" if name == ALL else gr.skip()] * num_choices]


def _defaults(stage: str, name: Any) -> Sequence[Any]:
    """Return the default of one field, or of all, in the order of the form; the others stay as they are."""
    fields = STAGES[stage].model_fields
    return [field.default if name in (each, ALL) else gr.skip() for each, field in fields.items()]
