"""The preview before the start: what the trainer will see token by token, what it leaves out, and any refusal."""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from modules.config import STAGES, TrainConfig
from studio.errors import StudioError
from studio.runs import prepare, preview
from studio.runs.prepare import Prepared
from studio.runs.preview import Example, Lesson, Refusal
from studio.workspace import Workspace
from ui import file_access
from ui.components import form, html
from ui.handlers import on

MAX_TOKENS = 400
PARTS = ("read", "taught", "scored")


def build(ws: Workspace, stage: str, inputs: list[Any]) -> Any:
    """Place the button and its output; returns the latter."""
    look = gr.Button("Show what it would teach", elem_id=f"look-{stage}")
    lesson = html.html("", elem_id=f"lesson-{stage}")
    working = on(look.click, _working, None, [lesson])
    on(working.then, partial(_look, ws, stage), inputs, [lesson])
    return lesson


def refusal(ws: Workspace, prepared: Prepared) -> Refusal | None:
    """Return why a run should not start as it is; None where it may."""
    return preview.check(ws, prepared) if isinstance(prepared.config, TrainConfig) else None


def complaints(stage: str, wrong: dict[str, str]) -> str:
    """Say what is wrong, field by field; each such field is marked where it stands."""
    items = "".join(f"<li><code>{escape(name)}</code> {escape(message)}</li>" for name, message in wrong.items())
    known = [name for name in wrong if name in STAGES[stage].model_fields]
    marks = "".join(
        f"#{stage}-{name} :is(input,textarea){{border-color:var(--alert)!important}}"
        f'#{stage}-{name}::after{{content:"Not valid: see next to Start.";color:var(--alert);font-size:.8125rem}}'
        for name in known
    )
    return f'<style>{marks}</style><div class="notice is-bad" role="alert">Not ready to start:<ul>{items}</ul></div>'


def _working() -> str:
    return '<p class="notice is-note is-working" role="status">Loading the tokenizer and encoding the rows …</p>'


def _look(ws: Workspace, stage: str, *values: Any) -> str:
    """Draw examples as the model would read them, or say why there are none."""
    return told(ws, stage, values, lambda config: _draw(preview.lesson(ws, prepare.resolve(ws, config))))


def told(ws: Workspace, stage: str, values: Sequence[Any], tell: Callable[[TrainConfig], str]) -> str:
    """Return what `tell` says of the form's settings, or what is wrong with them."""
    config, wrong = form.parse(STAGES[stage], values)
    if config is None:
        return complaints(stage, wrong)
    assert isinstance(config, TrainConfig)
    try:
        file_access.check_config(ws, config)
        return tell(config)
    except StudioError as error:
        return html.notice(str(error), "bad")


def _draw(found: Lesson) -> str:
    refused = html.notice(found.refusal, "bad") if found.refusal else ""
    met = {part for example in found.examples for _, part in example.tokens}
    names = " ".join(f'<span class="token is-{part}">{part}</span>' for part in PARTS if part in met)
    return (
        f'{refused}<div class="command"><h4>Chat template: {escape(found.template)}</h4><p>{escape(found.summary)}</p>'
        f'<p class="legend">{names}</p>{"".join(map(_example, found.examples))}</div>'
    )


def _example(example: Example) -> str:
    shown = example.tokens if len(example.tokens) <= MAX_TOKENS else example.tokens[-MAX_TOKENS:]
    hidden = len(example.tokens) - len(shown)
    head = f'<span class="quiet">… {hidden:,} tokens before …</span> ' if hidden else ""
    rest = f' <span class="quiet">[{escape(example.rest)}]</span>' if example.rest else ""
    return (
        f'<h5>{escape(example.title)} <span class="num quiet">{len(example.tokens):,} tokens</span></h5>'
        f'<pre class="tokens">{head}{"".join(_token(*token) for token in shown)}{rest}</pre>'
    )


def _token(text: str, part: str) -> str:
    """Draw one token; a line break is drawn as a sign and broken, so that a token of only a break is seen."""
    drawn = escape(text).replace("\n", "↵\n") if text else "∅"
    return f'<span class="token is-{escape(part)}">{drawn}</span>'
