"""Lists the settings that differ from their defaults, marks them in the form, and sets them back."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from modules.config import STAGES, StageConfig
from studio import settings
from ui.components import html, labels

ALL = "*"
RESET = """
document.addEventListener("click", (event) => {
  const asked = event.target.closest?.("button[data-reset]")?.dataset.reset.split("/");
  if (asked?.[0] !== "STAGE") return;
  props.value = asked[1];
  trigger("submit");
});
"""


def build(stage: str) -> tuple[gr.HTML, gr.HTML]:
    """Place the list, which `draw` fills, and what hears a press on one of its buttons: its value is then the field's name."""
    # An empty template: it only carries the name of the field.
    asked = html.html("", html_template="", js_on_load=RESET.replace("STAGE", stage))
    return html.html("", elem_id=f"changed-{stage}"), asked


def draw(stage: str, config: StageConfig, order: Sequence[str]) -> str:
    """Draw the settings that differ from their defaults, in the order of the form's fields; empty where none does."""
    found = settings.changed(config)
    if not found:
        return ""
    found = {name: found[name] for name in order if name in found}
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


def defaults(stage: str, name: Any) -> dict[str, Any]:
    """Return the default of the named field, or of all."""
    return {each: field.default for each, field in STAGES[stage].model_fields.items() if name in (each, ALL)}
