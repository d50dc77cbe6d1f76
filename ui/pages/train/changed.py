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


def build(stage: str, fields: dict[str, Any]) -> gr.HTML:
    """Place the list, and what hears a press on one of its buttons; return the list, which `draw` fills."""
    shown = html.html("", elem_id=f"changed-{stage}")
    # An empty template: it only carries the name of the field.
    asked = html.html("", html_template="", js_on_load=RESET.replace("STAGE", stage))
    on(asked.submit, partial(_defaults, stage), [asked], list(fields.values()), trigger_mode="multiple")
    return shown


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


def _defaults(stage: str, name: Any) -> Sequence[Any]:
    """Return the default of one field, or of all, in the order of the form; the others stay as they are."""
    fields = STAGES[stage].model_fields
    return [field.default if name in (each, ALL) else gr.skip() for each, field in fields.items()]
