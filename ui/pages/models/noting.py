"""The dialog in which a person writes the note and the tags of a checkpoint, pins it, and lets its run hand it on."""

from functools import partial
from typing import Any

import gradio as gr

from studio.errors import CheckpointError
from studio.models import checkpoints, notes
from studio.workspace import Workspace
from ui import static
from ui.components import html
from ui.handlers import served

DIALOG = f"""<dialog class="sheet noting" data-part="noting" aria-labelledby="noting-title">
<h3 id="noting-title" data-part="title"></h3>
<label>Note<textarea data-part="note" rows="5" maxlength="{notes.LONGEST_NOTE}" dir="auto" spellcheck="true"></textarea></label>
<label>Tags, separated by commas<input type="text" data-part="tags" dir="auto"></label>
<label class="check"><input type="checkbox" data-part="pinned"> Pinned: listed first, and not deleted</label>
<label class="check"><input type="checkbox" data-part="handed"> Handed on: what starts from its run begins with it <small data-part="by"></small></label>
<p class="said" data-part="said" role="status"></p>
<div class="keys"><button type="button" class="is-primary" data-part="keep">Save</button>
<form method="dialog"><button type="submit">Cancel</button></form></div></dialog>"""


def build(ws: Workspace) -> gr.HTML:
    """Place it; its submit event says that something was kept."""
    keep = served(partial(_keep, ws))
    return html.html(DIALOG, js_on_load=static.read("noting.js"), server_functions=[keep], elem_id="noting")


def _keep(ws: Workspace, request: Any) -> dict[str, Any]:
    """Keep what was written, whole or not at all.

    Raises:
        CheckpointError: there is no such checkpoint, or what was written cannot be kept.
    """
    asked = request if isinstance(request, dict) else {}
    name, text, tags = (asked.get(key) for key in ("name", "note", "tags"))
    is_pinned, is_handed_on = asked.get("is_pinned"), asked.get("is_handed_on")
    if not (isinstance(name, str) and isinstance(text, str) and isinstance(tags, str)) or not (
        isinstance(is_pinned, bool) and isinstance(is_handed_on, bool)
    ):
        raise CheckpointError("Nothing was kept: the page sent no note. Reload it and try again.")
    with ws.write() as db:
        found = checkpoints.recorded(db, name)
        kept = notes.keep(db, found.id, text=text, tags=[tags], is_pinned=is_pinned)
        if not found.deleted_at:
            checkpoints.hand_on(db, found, is_handed_on)
    return {"name": found.name, "tags": list(kept.tags)}
