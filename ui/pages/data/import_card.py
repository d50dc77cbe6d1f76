"""The import card of the Data page: a look at a file, what its columns are where that is not clear, and the import.

A mapping of columns is shown on the first rows with each change, and remembered for files of the same columns. While a
source is read, the page shows how far it is.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
from functools import partial
from html import escape
from string import ascii_uppercase
from threading import Event
from typing import Any

import gradio as gr

from studio.datasets import archive, importing
from studio.datasets.archive import Contents
from studio.datasets.formats.table import NAMED
from studio.datasets.mapping import TARGETS
from studio.datasets.plan import Asks, Request
from studio.datasets.results import Preview
from studio.datasets.sifting import Progress
from studio.errors import ImportRefused, StudioError
from studio.preferences import prompts
from studio.workspace import Workspace
from ui import file_access
from ui.components import html
from ui.handlers import any_of, on
from ui.server import uploads

KINDS = [("decide by the columns", "auto"), "demonstrations", "preferences", "prompts"]
SPLITS = [("by prompt, 80/10/10 %", ""), *prompts.SPLITS]
FORMATS = [("as recognised", ""), *((f"{name}: {family.says}", name) for name, family in NAMED.items())]
MAPPED = TARGETS
"""What a column can be mapped to, as in the terminal."""
EVERY_S = 0.4
"""Seconds between two looks at how far a source is read."""


def place(ws: Workspace) -> tuple[Any, Any]:
    """Place the card; return the event after which the lists have changed, and where results are told."""
    source = gr.Textbox(
        "",
        label="Path or hub id",
        info="A .jsonl, .json, .csv, .tsv, .parquet or .zip file (also .gz), an archive, a folder, or an id such as Anthropic/hh-rlhf.",
        max_lines=1,
        elem_id="source",
    )
    with gr.Row():
        kind = gr.Dropdown(KINDS, value="auto", label="What it holds", min_width=200)
        split = gr.Dropdown(SPLITS, value="", label="Split", min_width=200)
    category = gr.Textbox("", label="Category", placeholder="as in the file", max_lines=1)
    with gr.Row(elem_classes="controls"):
        upload = gr.UploadButton("Choose a file", min_width=150, elem_id="upload", file_count="single", type="filepath")
        look = gr.Button("Preview", variant="primary", min_width=120, elem_id="look")
        take = gr.Button("Import", interactive=False, min_width=120, elem_id="take")
        stop = gr.Button("Stop", interactive=False, min_width=80, elem_id="stop-import")
    axis = gr.Dropdown([("", "")], value="", label="Judged by", visible=False, elem_id="axis")
    mapping, fields, form = _mapping()
    told = html.html(html.notice(""), elem_id="import-told")
    going: set[Event] = set()
    on(upload.upload, lambda path: path, [upload], [source])
    for field in (source, kind):
        on(field.change, lambda: gr.Button(interactive=False), None, [take])
    asked = [form, axis, *fields]
    inputs, outputs = [source, kind, *asked], [told, take, stop, mapping, *asked]
    on(source.change, _forget, None, [mapping, *asked])
    on(look.click, partial(_look_on, ws, going), inputs, outputs, concurrency_id="look")
    on(any_of(asked, "input"), partial(_look_on, ws, going), inputs, outputs, concurrency_id="look")
    on(stop.click, partial(_stop, going), None, [stop])
    taken = on(take.click, partial(_take_on, ws, going), [source, kind, category, split, *asked], [told, take, stop])
    return taken, told


def _mapping() -> tuple[gr.Accordion, list[gr.Dropdown], gr.Dropdown]:
    """Place what a person says of a file's columns, folded; it opens for a file that is not clear."""
    with gr.Accordion("Columns", open=False, elem_classes="more", elem_id="mapping") as mapping:
        html.html(
            '<p class="quiet">Say what the columns are, where they are not read as they should be; the first rows are shown with each change, '
            "and columns that are not named here are then left out.</p>"
        )
        form = gr.Dropdown(FORMATS, value="", label="Format", elem_id="map-format")
        with gr.Row():
            fields = [
                gr.Dropdown(
                    [("", "")],
                    value="",
                    label=name.replace("_", " "),
                    min_width=140,
                    allow_custom_value=True,
                    elem_id=f"map-{name}",
                )
                for name in MAPPED
            ]
    return mapping, fields, form


def _forget() -> list[Any]:
    """Fold and empty what was said of another file."""
    hidden = [gr.Accordion(open=False), gr.Dropdown(value=""), gr.Dropdown(value="", visible=False)]
    return [*hidden, *(gr.Dropdown(value="") for _ in MAPPED)]


def _stop(going: set[Event]) -> gr.Button:
    """End what the page is reading or importing."""
    for each in list(going):
        each.set()
    return gr.Button(interactive=False)


def _look_on(ws: Workspace, going: set[Event], source: str, kind: str, *asked: str) -> Iterator[list[Any]]:
    same = [gr.skip()] * (len(MAPPED) + 3)
    yield from _shown(going, same, lambda progress: _look(ws, progress, source, kind, *asked))


def _take_on(ws: Workspace, going: set[Event], *given: str) -> Iterator[list[Any]]:
    yield from _shown(going, [], lambda progress: _take(ws, progress, *given))


def _shown(going: set[Event], same: list[Any], work: Callable[[Progress], list[Any]]) -> Iterator[list[Any]]:
    """Do the work, show its rows as they are read, and let the stop button end it; then show what it gave.

    Args:
        going: the events that stop what is going on.
        same: skips for the outputs after the text and the two buttons.
        work: gets the progress; gives the text, the import button and the outputs after the stop button.
    """
    stopped, read = Event(), ""

    def progress(num_rows: int, share: float, doing: str) -> None:
        nonlocal read
        if stopped.is_set():
            raise ImportRefused(f"Stopped after {num_rows:,} rows. Nothing was imported.")
        read = _so_far(num_rows, share, doing)

    going.add(stopped)
    pool = futures.ThreadPoolExecutor(1)
    try:
        result = pool.submit(work, progress)
        yield [gr.skip(), gr.Button(interactive=False), gr.Button(interactive=True), *same]
        said = ""
        while not futures.wait([result], timeout=EVERY_S).done:
            if read != said:
                said = read
                yield [html.notice(said), gr.skip(), gr.skip(), *same]
        text, button, *others = result.result()
        yield [text, button, gr.Button(interactive=False), *others]
    finally:
        going.discard(stopped)
        pool.shutdown(wait=False)


def _so_far(num_rows: int, share: float, doing: str) -> str:
    if doing == "stored":
        return f"{num_rows:,} rows are being stored{f': {min(share, 1):.0%}' if share else ''} …"
    return f"{num_rows:,} rows read{f', {min(share, 1):.0%} of the file' if share else ''} …"


def _request(kind: str, form: str, axis: str, columns: tuple[str, ...], **more: Any) -> Request:
    given = [f"{name}={column}" for name, column in zip(MAPPED, columns, strict=True) if column]
    return Request(kind, form or "", ",".join(given), axis or "", **more)  # type: ignore[arg-type]  # a dropdown's value is checked by Gradio


def _look(ws: Workspace, progress: Progress, source: str, kind: str, form: str, axis: str, *columns: str) -> list[Any]:
    """Read the source and show what would come in; the import button opens when something would."""
    same = [gr.skip()] * (len(MAPPED) + 3)
    if not source.strip():
        return [html.notice("Choose a file, or give a path or a hub id.", "bad"), gr.Button(interactive=False), *same]
    request = _request(kind, form, axis, columns)
    try:
        found = importing.look(file_access.check(ws, source.strip()), request, ws=ws, progress=progress)
    except Asks as error:
        return [html.notice(str(error), "bad"), gr.Button(interactive=False), *_offer(error.columns, True)]
    except StudioError as error:
        return [html.notice(str(error), "bad"), gr.Button(interactive=False), *same]
    if isinstance(found, Contents):
        return [*_look_at_archive(ws, found), *same]
    shown = _offer(found.columns, False)
    shown = [*shown[:2], _axes(found), *shown[3:]]
    return [_preview(found), gr.Button(interactive=found.num_kept > 0), *shown]


def _offer(there: list[str], is_asked: bool) -> list[Any]:
    """Offer the file's columns to choose from, unfolded where the file asks; what is chosen stays, also if it was chosen meanwhile."""
    fields = [gr.Dropdown([("", ""), *there])] * len(MAPPED)
    return [gr.Accordion(open=True) if is_asked else gr.skip(), gr.skip(), gr.skip(), *fields]


def _axes(found: Preview) -> gr.Dropdown:
    """Offer the criteria by which the source judges, where there are several."""
    is_offered = found.kind == "preferences" and len(found.axes) > 1
    return gr.Dropdown([("as the source does", ""), *found.axes], visible=is_offered)


def _look_at_archive(ws: Workspace, found: Contents) -> list[Any]:
    try:
        archive.check_empty(ws, found.path)
    except StudioError as error:
        return [html.notice(f"{found.sentence} {error}", "bad"), gr.Button(interactive=False)]
    said = f"{found.sentence} Import brings all of it into this workspace, which is empty."
    return [html.notice(said), gr.Button(interactive=True)]


def _take(
    ws: Workspace,
    progress: Progress,
    source: str,
    kind: str,
    category: str,
    split: str,
    form: str,
    axis: str,
    *columns: str,
) -> list[Any]:
    request = _request(kind, form, axis, columns, category=category.strip(), split=split or None)
    try:
        checked = file_access.check(ws, source.strip())
        said = importing.take(ws, checked, request, progress=progress)
    except StudioError as error:
        return [html.notice(str(error), "bad"), gr.Button(interactive=False)]
    uploads.imported(checked)
    return [html.notice(said, "good"), gr.Button(interactive=False)]


def _preview(found: Preview) -> str:
    """Draw counts, the reason for each drop, and the first rows as they would come in."""
    dropped = "".join(
        f'<li><b class="num">{count:,}</b> {escape(reason)}</li>' for reason, count in found.dropped.items()
    )
    reasons = f"<h4>Dropped</h4><ul>{dropped}</ul>" if dropped else ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in found.notes)
    examples = "".join(f'<article class="entry">{_example(example)}</article>' for example in found.examples)
    return (
        f'<div class="preview"><p>{escape(found.counts)} can be kept as {escape(found.kind)} ({escape(found.format)}).</p>'
        f"{reasons}{notes}<h4>The first rows</h4>{examples}</div>"
    )


def _example(example: dict[str, Any]) -> str:
    sides = "".join(html.conversation([], example[side], side) for side in ("chosen", "rejected") if side in example)
    sides += "".join(
        html.conversation([], text, name) for name, text in zip(ascii_uppercase, example.get("sides", ()), strict=False)
    )
    sides += "".join(
        html.conversation([], text, f"rank {rank}")
        for rank, group in enumerate(example.get("groups", ()), 1)
        for text in group
    )
    rater = example.get("rater") or ""
    outcome = (example.get("outcome") or "").replace("_", " ")
    said = [outcome if outcome not in ("left", "ranking") else "", "" if rater == "import" else rater]
    tags = html.tags([*said, example.get("category") or "", example.get("split") or ""])
    return html.conversation(example["messages"], example.get("response", "")) + sides + f"<footer>{tags}</footer>"
