"""What was imported, a card for each import, and the button that takes it back while nothing was trained or rated on it."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.datasets import batches, taking_back
from studio.errors import StudioError
from studio.page_reads import Shared
from studio.preferences import prompts
from studio.workspace import LARGEST, Workspace
from ui.components import html
from ui.handlers import on

SHOWN = 30
"""Most imports that are shown; the terminal lists all."""
_shared = Shared(keep_s=60.0)
"""The cards, whose rows many texts take a while to count."""
ASK = """
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#imports-list [data-import]");
  const isSure = button?.dataset.sure !== undefined;
  for (const other of document.querySelectorAll("#imports-list [data-sure]")) {
    delete other.dataset.sure;
    other.textContent = "Take this import back";
  }
  if (!button) return;
  if (!isSure) {
    button.dataset.sure = "";
    button.textContent = "All its rows leave. Take it back?";
    return;
  }
  props.value = button.dataset.import;
  trigger("submit");
});
"""
"""The first click on a button asks, the second one does it."""


def place(ws: Workspace) -> tuple[gr.HTML, Any]:
    """Place the cards; return where they are drawn, and the event after which the lists have changed."""
    # An empty template: the value comes from outside and must not be drawn.
    chosen = html.html("", html_template="", js_on_load=ASK, elem_id="imports-clicked")
    told = html.html(html.notice(""), elem_id="imports-told")
    listed = html.html(elem_id="imports-list")
    return listed, on(chosen.submit, partial(_take_back, ws), [chosen], [told, listed], progress=True)


def draw(ws: Workspace) -> str:
    """Draw a card for each import, the newest first."""
    return _shared.get(ws, "imports", partial(_draw, ws))


def _draw(ws: Workspace) -> str:
    with ws.read() as db:
        found = prompts.list_imports(db)
        cards = "".join(_card(row, batches.brought(db, row["id"])) for row in found[:SHOWN])
    more = f'<p class="quiet">{len(found) - SHOWN:,} older ones are listed by rlhf-studio data imports.</p>'
    return f"{cards}{more if len(found) > SHOWN else ''}" or '<p class="quiet">Nothing has been imported yet.</p>'


def _card(row: dict[str, Any], counts: dict[str, int]) -> str:
    dropped = "".join(f"<li>{count:,} {escape(reason)}</li>" for reason, count in row["dropped"].items())
    dropped = (
        f"<details><summary>{sum(row['dropped'].values()):,} dropped</summary><ul>{dropped}</ul></details>"
        if dropped
        else ""
    )
    brought = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing new"
    return (
        f'<article class="entry import"><h3>{escape(row["source"])}</h3>'
        f'<p class="quiet">Import {row["id"]}, {html.ago(row["created_at"])}: {row["kept"]:,} rows of {escape(row["kind"])}</p>'
        f'<p>It brought {brought}.</p>{dropped}<button type="button" data-import="{row["id"]}">Take this import back</button></article>'
    )


def _take_back(ws: Workspace, chosen: Any) -> list[str]:
    """Take an import back, or say what depends on it."""
    number = str(chosen)
    try:
        if not number.isdecimal() or int(number[:20]) > LARGEST:
            said = html.notice("Choose an import.", "bad")
        else:
            said = html.notice(taking_back.take_back(ws, int(number)), "good")
    except StudioError as error:
        said = html.notice(str(error), "bad")
    return [said, draw(ws)]
