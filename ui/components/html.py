"""Small pieces of HTML that more than one page shows. Every text that comes from outside is escaped here, once.

Gradio puts a `gr.HTML` value into the page as it is (its template is `${value}` and must stay so: a Handlebars template
would be evaluated a second time). So these functions take plain text and return safe markup.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from html import escape
from urllib.parse import quote

import gradio as gr

from studio import redaction
from studio.models import figures
from studio.preferences.prompts import Messages
from studio.runs.runs import Run
from ui import rendering

html = partial(gr.HTML, apply_default_css=False)
"""A `gr.HTML` without Gradio's prose styles: `studio.css` alone decides."""

AGES = ((86400, "d"), (3600, "h"), (60, "min"))
"""Seconds and the unit from which on ages are told in it."""

SHAPES = {
    "queued": '<circle cx="6" cy="6" r="4.5" fill="none" stroke-dasharray="2 2"/>',
    "running": '<circle cx="6" cy="6" r="4.5" fill="currentColor"/>',
    "paused": '<path d="M4 2V10M8 2V10" fill="none"/>',
    "ending": '<circle cx="6" cy="6" r="4.5" fill="none"/>',
    "finished": '<path d="M1.5 6.5 4.7 9.5 10.5 2.5" fill="none"/>',
    "stopped": '<rect x="2" y="2" width="8" height="8" fill="currentColor"/>',
    "failed": '<path d="M2 2 10 10M10 2 2 10" fill="none"/>',
    "lost": '<path d="M6 1.2 11 10.4H1Z" fill="none"/>',
    "deleted": '<path d="M2 6H10" fill="none"/>',
}
"""State to its own shape, so that no state is shown by colour alone."""


def badge(state: str) -> str:
    """Draw a run's state as a shape and a word."""
    shape = f'<svg viewBox="0 0 12 12" aria-hidden="true">{SHAPES[state]}</svg>'
    return f'<span class="badge is-{state}">{shape}{state}</span>'


def doing(run: Run) -> str:
    """Return what a run that has not ended is doing, or what it was asked to do."""
    said = run.progress_text or "Starting."
    if run.stop_requested:
        return "Stopping: it finishes its step and saves."
    if run.pause_requested and run.state == "queued":
        return "Held in the queue: others go first until you choose Continue."
    if run.pause_requested and not run.is_paused:
        return "Pausing: it finishes its step and saves."
    return said


def progress(run: Run, left: str = "") -> str:
    """Draw a bar with what is happening now, and how long it still takes, in words; empty for an ended run."""
    if run.is_ended:
        return ""
    share = min(max(run.progress, 0.0), 1.0)
    return (
        f'<div class="run-progress"><div class="meter"><i style="width:{share:.1%}"></i></div>'
        f'<span class="num">{share:.0%}</span><span class="doing">{escape(doing(run))}</span>'
        f'<span class="left num">{escape(left)}</span></div>'
    )


def notice(text: str, kind: str = "note") -> str:
    """Draw a sentence next to its subject; `kind` is note, good or bad. Empty text keeps its place empty."""
    return (
        f'<p class="notice is-{kind}" role="status">{escape(redaction.redact(text))}</p>'
        if text
        else '<p class="notice"></p>'
    )


def versus_link(one: str, other: str, votes: int = 50) -> str:
    """Return the address that asks for blind votes between two checkpoints; without their names, that of the page."""
    return f"evaluate/{quote(one)}/{quote(other)}/{votes}" if one and other else "evaluate"


def empty(title: str, text: str, link: str = "", label: str = "") -> str:
    """Draw an empty state that teaches: what belongs here, why, and how to fill it. `link` is page or page/item."""
    button = f'<a class="go" href="#{escape(link)}">{escape(label)}</a>' if link else ""
    return f'<div class="nothing"><h3>{escape(title)}</h3><p>{escape(text)}</p>{button}</div>'


def conversation(messages: Messages, response: str = "", label: str = "assistant") -> str:
    """Draw turns, formatted as on the Rate page; a response after them where given."""
    turns = [(turn["role"], turn["content"]) for turn in messages] + ([(label, response)] if response else [])
    return "".join(
        f'<div class="turn is-{escape(role)}"><span>{escape(role)}</span><div>{rendering.words(text)}</div></div>'
        for role, text in turns
    )


def fold(key: str, title: str, note: str, inside: str, *, is_open: bool) -> str:
    """Draw a part of a page that folds, open or not until a person decides, which the browser keeps under the key.

    Args:
        key: tells it from all others, on all pages.
        title: of the part.
        note: what is inside, in a few words or a number.
        inside: its markup.
        is_open: as it is drawn.
    """
    return (
        f'<details class="fold" data-group="{escape(key)}"{" open" if is_open else ""}>'
        f'<summary><h3>{escape(title)}</h3><span class="num">{escape(note)}</span></summary>{inside}</details>'
    )


def wide(label: str) -> str:
    """Return the opening tag around a table that may be wider than the page: it scrolls alone, by the arrow keys too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'


def copyable(text: str) -> str:
    """Draw text with a button that copies it."""
    return (
        f'<div class="copyable"><button type="button" class="copy" data-copy="{escape(text)}">Copy</button>'
        f"<pre><code>{escape(text)}</code></pre></div>"
    )


def tags(names: Iterable[str]) -> str:
    """Draw short labels in a row; empty ones are left out."""
    return "".join(f'<span class="tag">{escape(name)}</span>' for name in names if name)


def key(name: str) -> str:
    """Draw a keycap."""
    return f"<kbd>{escape(name)}</kbd>"


def number(value: float | None) -> str:
    """Return a figure with as many digits as mean something."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 0.01:
        return f"{value:.{max(0, 2 - len(str(int(size))) + 1)}f}" if size >= 1 else f"{value:.3f}"
    return f"{value:.4f}" if size >= 0.001 else f"{value:.1e}"


def size(count: float) -> str:
    """Write bytes in the unit that suits."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def figure(stage: str, metrics: Mapping[str, float]) -> str:
    """Return a checkpoint's main figure in words; an accuracy with its interval."""
    known_by = next(iter(figures.STAGES.get(stage, ())), None)
    value = metrics.get(known_by.metric) if known_by else None
    if known_by is None or value is None:
        return ""
    name, words = known_by.metric, known_by.words
    if name != "eval/accuracy":
        return f"{words} {number(value)}"
    low, high = metrics.get("eval/accuracy_low"), metrics.get("eval/accuracy_high")
    interval = f" ({low:.0%} to {high:.0%})" if low is not None and high is not None else ""
    return f"{words} {value:.0%}{interval}"


def ago(when: str | None) -> str:
    """Draw how long ago a UTC time was; `static/studio.js` keeps it true while nothing else is drawn again."""
    if not when:
        return ""
    return f'<time class="ago" datetime="{escape(when)}" title="{escape(when[:19].replace("T", " "))} UTC">{ago_words(when)}</time>'


def ago_words(when: str) -> str:
    """Return how long ago a UTC time was, in words."""
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds())
    for size, unit in AGES:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"
