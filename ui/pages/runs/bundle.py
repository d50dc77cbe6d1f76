"""Writes the chosen run into one file from which it can be run again."""

import shlex
from functools import partial

import gradio as gr

from studio import settings
from studio.errors import StudioError
from studio.reproduction import bundling
from studio.runs import runs
from studio.workspace import Workspace
from ui.components import html
from ui.handlers import on


def build(ws: Workspace, chosen: gr.Textbox) -> None:
    """Place the button, and what it says; it is emptied when another run is chosen."""
    write = gr.Button("Write a bundle", elem_id="run-bundle", min_width=150)
    words = "One file with the settings, rows, hashes and versions, from which this run can be run again and compared."
    html.html(f'<p class="quiet">{words}</p>')
    told = html.html(html.notice(""), elem_id="run-bundle-told")
    on(write.click, partial(_write, ws), [chosen], [told], progress=True)
    on(chosen.change, partial(html.notice, ""), None, [told])


def _write(ws: Workspace, name: str) -> str:
    try:
        with ws.read() as db:
            run = runs.chosen_or_newest(db, name)
        if run is None and not name:
            return html.notice("There is no run yet.", "bad")
        path = bundling.write(ws, run.name if run else name)
    except StudioError as error:
        return html.notice(str(error), "bad")
    command = shlex.join([settings.program(), "reproduce", str(path), "--workspace", str(ws.root)])
    return f'{html.notice(f"Written: {path}", "good")}<div class="command"><h4>Run it again and compare</h4>{html.copyable(command)}</div>'
