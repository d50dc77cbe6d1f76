"""Deletes a checkpoint or a run: what would leave, what depends on it, then one press."""

import os
from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.models import deletion, disk
from studio.models.checkpoints import Checkpoint
from studio.models.deletion import Others, Plan
from studio.runs import launcher
from studio.workspace import Workspace
from ui.components import dropdown, html
from ui.handlers import any_of, on

OTHERS: tuple[tuple[str, Others], ...] = (
    ("Delete that too", "delete"),
    ("Leave it; it can no longer be resumed", "keep"),
)
"""What becomes of what depends on it."""


def build(ws: Workspace, inputs: Sequence[Any], outputs: Sequence[Any], draw: Any) -> gr.Dropdown:
    """Place it, and return its picker; after a deletion the page is drawn again by `draw(*inputs)`, which sets `outputs`."""
    name = gr.Dropdown(
        [], value=None, label="Checkpoint or run", allow_custom_value=True, elem_id="delete-name", min_width=220
    )
    listed = html.html("", elem_id="delete-listed")
    others = gr.Radio(
        list(OTHERS), value=None, label="What depends on it", visible=False, elem_id="delete-others", min_width=320
    )
    expected = gr.State([])
    with gr.Row(elem_classes="controls"):
        button = gr.Button("Delete", variant="stop", visible=False, elem_id="delete-now", min_width=240)
    told = html.html(html.notice(""), elem_id="delete-told")
    shown = [listed, others, button, expected]
    on(any_of([name, others], "input"), partial(_show, ws), [name, others], [*shown, told])
    done = on(button.click, partial(_delete, ws), [name, others, expected], [told, name, *shown])
    on(done.then, draw, [*inputs, name], [*outputs, name])
    return name


def offer(found: Sequence[Checkpoint], current: str | None) -> gr.Dropdown:
    """Offer checkpoints and their runs; what was chosen or typed stays."""
    of_runs = [(f"{run}, the whole run", run) for run in dict.fromkeys(c.run_name for c in found)]
    choices = [*((c.name, c.name) for c in found), *of_runs]
    return dropdown.offer(choices, current, current)


def _show(ws: Workspace, name: str | None, others: str | None) -> list[Any]:
    """List what a deletion would do; the button is there where it could be done."""
    if not name or not isinstance(name, str):
        return [*_hidden(), html.notice("")]
    try:
        launcher.reap(ws)
        found = _plan(ws, name, "refuse")
        depends = bool(found.dependants)
        chosen = _checked(others) if depends else "refuse"
        if chosen == "delete":
            found = _plan(ws, name, chosen)
    except StudioError as error:
        return [*_hidden(), html.notice(str(error), "bad")]
    can = not found.forbidden and (not depends or chosen != "refuse")
    label = f"Delete {name}" if len(found.names) == 1 else f"Delete these {len(found.names)}"
    return [
        _listing(ws, found),
        gr.Radio(visible=depends and not found.forbidden),
        gr.Button(label, visible=can),
        found.names,
        html.notice(" ".join(found.forbidden), "bad"),
    ]


def _delete(ws: Workspace, name: str | None, others: str | None, expected: list[str]) -> list[Any]:
    """Delete what was listed, if it is still the same."""
    if not name or not isinstance(name, str) or not expected:
        return [html.notice("Nothing was deleted: choose a checkpoint or a run first.", "bad"), gr.skip(), *_hidden()]
    try:
        done = deletion.delete(ws, [name], is_runs="@" not in name, others=_checked(others), expected=expected)
    except StudioError as error:
        return [html.notice(str(error), "bad"), gr.skip(), *_hidden()]
    said = f"Deleted {', '.join(expected)}. {done.sentence}"
    return [html.notice(said, "bad" if done.failed else "good"), None, *_hidden()]


def _hidden() -> list[Any]:
    return ["", gr.Radio(value=None, visible=False), gr.Button(visible=False), []]


def _plan(ws: Workspace, name: str, others: Others) -> Plan:
    return deletion.plan(ws, [name], is_runs="@" not in name, others=others)


def _checked(others: str | None) -> Others:
    found: dict[Any, Others] = {value: value for _, value in OTHERS}
    return found.get(str(others), "refuse")


def _listing(ws: Workspace, found: Plan) -> str:
    rows = "".join(
        f"<li><b>{escape(piece.name)}</b> <span class='num'>{disk.words(disk.given_back(piece.paths))}</span>"
        f" <code>{escape(os.path.relpath(piece.folder, ws.root))}</code></li>"
        for piece in found.pieces
    )
    said = [f"<p>{escape(each)}</p>" for each in found.changes]
    if found.dependants:
        depends = "".join(f"<li>{escape(each)}</li>" for each in found.dependants)
        said.append(f"<p>More depends on it:</p><ul>{depends}</ul>")
    if found.facts:
        said.append(f"<p>Stays, with its name: {escape(', '.join(found.facts))}.</p>")
    if found.left:
        said.append(f"<p>Stays, since the run did not write it: {escape(', '.join(found.left[:3]))}</p>")
    total = f"<p>{disk.words(found.size)} would be free again. There is no undo.</p>"
    return f'<div class="leaving"><ul>{rows}</ul>{"".join(said)}{total}</div>'
