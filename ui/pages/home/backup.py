"""A line and a button on Home: when the database was last backed up, and a backup now."""

from functools import partial
from html import escape

import gradio as gr

from studio.recovery import backups
from studio.workspace import Workspace
from ui.components import html
from ui.handlers import on


def place(ws: Workspace) -> None:
    """Place the button and its text."""
    with gr.Row(equal_height=True):
        press = gr.Button("Back up the database", size="sm", min_width=180, scale=0, elem_id="backup-now")
        said = html.html("", elem_id="backup-said")
    on(press.click, partial(_back_up, ws), None, [said])


def line(ws: Workspace) -> str:
    """Return when the last backup was made, and where it lies."""
    made = backups.last(ws)
    if made is None:
        return '<p class="quiet" id="backup-last">The database has not been backed up yet; the studio does it once a day while it runs.</p>'
    return f'<p class="quiet" id="backup-last">Last backup of the database: {html.ago(made.made_at)} ({escape(str(made.path))})</p>'


def _back_up(ws: Workspace) -> str:
    made = backups.make(ws)
    size = made.path.stat().st_size / 2**20
    return html.notice(
        f"Backed up to {made.path} ({size:,.1f} MiB, checked). To restore it: rlhf-studio restore FILE", "good"
    )
