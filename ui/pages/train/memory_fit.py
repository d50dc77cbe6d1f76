"""Draws a run's memory as a stacked bar against what is free, with advice, and a probe that measures it."""

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from modules.config import TrainConfig
from studio.errors import StudioError
from studio.runs import memory_fit, prepare, preview, progress
from studio.runs.memory_fit import LIBRARIES, Fit, Measured, Place
from studio.workspace import Workspace
from ui.components import html
from ui.handlers import on
from ui.pages.train import preview as page_preview

_ORPHAN = html.notice(
    "A measurement started before this page was loaded is still running; its figures will not be shown here."
)


def build(ws: Workspace, stage: str, inputs: list[Any], outlook: gr.HTML, look: Callable[..., str]) -> list[Any]:
    """Place the buttons and what they show; what was measured brings the outlook up to date. Returns what `states` brings up to date, what they show first."""
    with gr.Row(elem_classes="controls"):
        ask = gr.Button("Will it fit?", elem_id=f"fit-{stage}", min_width=110)
        probe = gr.Button("Measure a real step", elem_id=f"probe-{stage}", min_width=190)
        stop = gr.Button("Stop measuring", visible=False, elem_id=f"unprobe-{stage}", min_width=150)
    told = html.html("", elem_id=f"fitted-{stage}")
    # At once with the longest allowed texts; then with the existing ones, which takes a tokenizer.
    asked = on(ask.click, partial(_ask, ws, stage), inputs, [told])
    on(asked.then, partial(_ask_closely, ws, stage), inputs, [told], concurrency_limit=None)
    number = gr.State(0)
    working = on(probe.click, partial(_working, ws, stage), None, [number, told, probe, stop])
    probed = on(
        working.then, partial(_probe, ws, stage), [number, *inputs], [told, probe, stop], concurrency_limit=None
    )
    on(probed.then, look, inputs, [outlook])
    on(stop.click, partial(_stop, ws), None, [told, probe, stop], concurrency_limit=None)
    return [told, probe, stop]


def states(ws: Workspace, stage: str, shown: Any) -> list[Any]:
    """Update the part when the page is opened: a measurement outlives the page that started it and can be stopped."""
    is_measuring = memory_fit.measured_stage(ws) == stage
    if memory_fit.measured_stage(ws, not_for=_page()) == stage and not shown:
        return [_ORPHAN, *_buttons(True)]
    if shown == _ORPHAN and not is_measuring:
        return ["", *_buttons(False)]
    return [gr.skip()] * 3  # not the buttons of an idle page: one may have been pressed meanwhile


def _buttons(is_measuring: bool) -> list[Any]:
    """Measure or stop, whichever can be done."""
    return [gr.Button(visible=not is_measuring), gr.Button(visible=is_measuring)]


def _working(ws: Workspace, stage: str) -> list[Any]:
    """Show that a measurement runs, so that it can be stopped at once."""
    text = "Running real steps in a separate process, with larger micro-batches while they fit …"
    said = f'<p class="notice is-note is-working" role="status">{text}</p>'
    return [memory_fit.ask(ws, stage, _page()), said, *_buttons(True)]


def _page() -> str:
    """Return the name of the tab that asks, so that a late refresh does not report its own measurement to it."""
    request = LocalContext.request.get(None)
    return str(getattr(request, "session_hash", None) or "")


def _stop(ws: Workspace) -> list[Any]:
    was_at_work = memory_fit.stop_probe(ws)
    said = "The measurement was stopped." if was_at_work else "The measurement had already ended."
    return [html.notice(said), *_buttons(False)]


def _ask(ws: Workspace, stage: str, *values: Any) -> str:
    """Draw the estimate for the longest texts that the settings allow, or why there is none."""
    which = "the most the settings allow; looking for the longest text in the data …"

    def tell(config: TrainConfig) -> str:
        prepared = prepare.resolve(ws, config)
        with ws.read() as db:
            return _draw(memory_fit.fit(db, prepared), which)

    return page_preview.told(ws, stage, values, tell)


def _ask_closely(ws: Workspace, stage: str, *values: Any) -> str:
    """Draw the estimate for the longest existing text; where that is unknown, for what the settings allow."""

    def tell(config: TrainConfig) -> str:
        prepared = prepare.resolve(ws, config)
        try:
            longest, which = preview.lesson(ws, prepared).longest, "the longest in the data."
        except StudioError as error:
            longest, which = 0, f"the most the settings allow. The rows could not be read: {error}"
        with ws.read() as db:
            return _draw(memory_fit.fit(db, prepared, longest), which)

    return page_preview.told(ws, stage, values, tell)


def _probe(ws: Workspace, stage: str, number: int, *values: Any) -> list[Any]:
    """Measure what a real step takes, or say why it cannot be done."""

    def measure(config: TrainConfig) -> str:
        try:
            return _measured(memory_fit.probe(ws, config, number), memory_fit.place_of(config))
        except memory_fit.Stopped as stopped:
            return html.notice(str(stopped))

    said = page_preview.told(ws, stage, values, measure)
    memory_fit.give_up(ws, number)
    # Where a newer one is running by now, the page shows that one.
    return [gr.skip()] * 3 if memory_fit.measured_stage(ws) == stage else [said, *_buttons(False)]


def _draw(fit: Fit, which: str) -> str:
    parts_of = {**fit.estimate.parts, "libraries": LIBRARIES}
    verdict = _verdict(fit.needed, fit.place, fit.is_fitting, "about ")
    tips = "" if fit.is_fitting else "<ul>" + "".join(f"<li>{escape(tip)}</li>" for tip in fit.advice) + "</ul>"
    detail = f"The {fit.estimate.phase} needs the most memory. Estimated for texts of {fit.length:,} tokens, {which}"
    return f'<div class="command fit">{verdict}{_bar(parts_of, fit.place)}<p class="quiet">{escape(detail)}</p>{tips}</div>'


def _measured(found: Measured, place: Place) -> str:
    needed = found.peak + found.libraries
    verdict = _verdict(needed, place, needed <= 0.9 * place.free, "")
    bar = _bar({"this run": found.peak, "libraries": found.libraries}, place)
    larger = (
        "all texts of a step fit at once"
        if found.largest >= found.whole
        else f"micro_batch_size {found.largest} fits too"
        if found.largest > found.micro_batch_size
        else f"micro_batch_size {found.largest} is the largest found to fit"
    )
    steps = f"Its {found.num_steps:,} steps take {'at most ' * found.is_most}about {progress.duration(found.seconds)}, loading and evaluation not counted."
    said = f"Measured with micro_batch_size {found.micro_batch_size}; {larger}. {steps}"
    return f'<div class="command fit">{verdict}{bar}<p>{escape(said)}</p></div>'


def _verdict(needed: int, place: Place, is_fitting: bool, about: str) -> str:
    word = "It fits" if is_fitting else "It probably will not fit"
    text = f"{word}: {about}{html.size(needed)} of the {html.size(place.free)} free now ({place.title}, {html.size(place.total)})."
    return html.notice(text, "good" if is_fitting else "bad")


def _bar(pieces: dict[str, int], place: Place) -> str:
    """Draw a stacked bar whose full width is what is free, or what is needed where that is more."""
    whole = max(sum(pieces.values()), place.free, 1)
    shown = [(name, count) for name, count in pieces.items() if count]
    cells = "".join(
        f'<i class="m{index}" style="width:{count / whole:.2%}" title="{escape(name)}: {html.size(count)}"></i>'
        for index, (name, count) in enumerate(shown)
    )
    mark = f'<b style="left:{min(1.0, place.free / whole):.2%}"></b>'
    names = "".join(
        f'<li><i class="m{index}"></i>{escape(name)} <span class="num">{html.size(count)}</span></li>'
        for index, (name, count) in enumerate(shown)
    )
    label = ", ".join(f"{name} {html.size(count)}" for name, count in shown)
    return f'<div class="stack" role="img" aria-label="{escape(label)}">{cells}{mark}</div><ul class="stack-names">{names}</ul>'
