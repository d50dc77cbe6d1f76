"""Train: choose a stage, look at its settings, start. What is wrong is said beside the field and beside the button.

The form is generated from the stage's config class. The same settings as a command line stand beside it.
"""

import shlex
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from modules.config import STAGES, SFTConfig
from studio import launcher, previewing
from studio.errors import StudioError
from studio.workspace import Workspace
from ui import form, parts, paths
from ui.border import on
from ui.pages import Page

TITLES = {"sft": "SFT", "sample": "Sample pairs", "reward": "Reward model", "ppo": "PPO"}
ESSENTIALS = {
    "sft": ("base_model", "learning_rate", "epochs", "max_demonstrations", "quantisation"),
    "sample": ("checkpoint", "opponent", "num_prompts", "split", "temperature", "exclude_categories"),
    "reward": ("sft_checkpoint", "learning_rate", "epochs", "ties", "use_strength"),
    "ppo": ("reward_checkpoint", "sft_checkpoint", "policy_checkpoint", "iterations", "batch_size", "learning_rate", "kl_coef",
            "max_new_tokens", "exclude_categories"),
}  # fmt: skip
"""The fields a person usually looks at; the others wait in accordions."""


def build(ws: Workspace, tabs: gr.Tabs, run_chosen: gr.Textbox) -> Page:
    """Place the page.

    Args:
        ws: the workspace.
        tabs: the app's pages; a started run opens Runs.
        run_chosen: the chosen run of the Runs page.
    """
    stage = gr.Radio(
        [(title, name) for name, title in TITLES.items()],
        value="sft",
        show_label=False,
        elem_id="stage",
        container=False,
    )
    panels, dropdowns = [], []
    for name in TITLES:
        with gr.Row(visible=name == "sft", elem_classes="split train", elem_id=f"train-{name}") as panel:
            dropdowns += _panel(ws, name, tabs, run_chosen)
        panels.append(panel)
    on(stage.change, _show, [stage], panels)
    return Page(partial(_refresh, ws), dropdowns, dropdowns, item=stage)


def _panel(ws: Workspace, stage: str, tabs: gr.Tabs, run_chosen: gr.Textbox) -> list[Any]:
    """The form of one stage with its start; returns its checkpoint dropdowns."""
    config_class = STAGES[stage]
    with gr.Column(scale=5, min_width=320):
        parts.html(f'<p class="lead">{escape((config_class.__doc__ or "").strip())}</p>')
        fields = form.build(ws, config_class, ESSENTIALS[stage], stage)
    with gr.Column(scale=3, min_width=280, elem_classes="start"):
        start = gr.Button(f"Start {TITLES[stage]}", variant="primary", elem_id=f"start-{stage}")
        told = parts.html(parts.notice(""), elem_id=f"told-{stage}")
        command = parts.html(_command(ws, stage, config_class()), elem_id=f"command-{stage}")
        if stage == "sft":
            look = gr.Button("Show what it would teach", elem_id="look-sft")
            lesson = parts.html("", elem_id="lesson-sft")
            on(look.click, partial(_look, ws), list(fields.values()), [lesson], progress=True)
    inputs = list(fields.values())
    for field in inputs:
        on(field.change, partial(_check, ws, stage), inputs, [command, told], trigger_mode="always_last")
    on(start.click, partial(_start, ws, stage), inputs, [told, tabs, run_chosen], validator=partial(_validate, stage))
    return [field for name, field in fields.items() if name in form.CHECKPOINT_STAGES]


def _show(stage: str) -> list[Any]:
    return [gr.Row(visible=name == stage) for name in TITLES]


def _refresh(ws: Workspace, *values: str) -> list[Any]:
    """New choices for all checkpoint dropdowns, in the order in which `build` collected them."""
    given, updates = iter(values), []
    for name in TITLES:
        current = {field: next(given) for field in STAGES[name].model_fields if field in form.CHECKPOINT_STAGES}
        updates += form.refreshed(ws, STAGES[name], current)
    return updates


def _check(ws: Workspace, stage: str, *values: Any) -> list[Any]:
    """After every change: the command line, or what is wrong, field by field."""
    config, wrong = form.parse(STAGES[stage], values)
    if config is None:
        return [gr.skip(), _complaints(wrong)]
    return [_command(ws, stage, config), parts.notice("")]


def _validate(stage: str, *values: Any) -> list[dict[str, Any]]:
    """Gradio's own mark on each field that is wrong; nothing starts then."""
    _, wrong = form.parse(STAGES[stage], values)
    return [gr.validate(name not in wrong, wrong.get(name, "")) for name in STAGES[stage].model_fields]


def _start(ws: Workspace, stage: str, *values: Any) -> list[Any]:
    """Create and start the run and open it; or say why not."""
    config, wrong = form.parse(STAGES[stage], values)
    if config is None:
        return [_complaints(wrong), gr.skip(), gr.skip()]
    try:
        paths.check_config(ws, config)
        run, is_new = launcher.start_once(ws, config)
    except StudioError as error:
        return [parts.notice(str(error), "bad"), gr.skip(), gr.skip()]
    said = (
        "was started."
        if is_new
        else "was started a moment ago with these settings; a second click starts no second run."
    )
    return [parts.notice(f"{run.name} {said}", "good"), gr.Tabs(selected="runs"), run.name]


def _look(ws: Workspace, *values: Any) -> str:
    """An example as the model would read it, the taught part marked; or why there is none."""
    config, wrong = form.parse(SFTConfig, values)
    if not isinstance(config, SFTConfig):
        return _complaints(wrong)
    try:
        paths.check_config(ws, config)
        found = previewing.lesson(ws, config)
    except StudioError as error:
        return parts.notice(str(error), "bad")
    marked = "".join(f"<mark>{escape(text)}</mark>" if taught else escape(text) for text, taught in found.example)
    return (
        f'<div class="command"><h4>Chat template: {escape(found.template)}</h4><p>{escape(found.summary)} '
        f"The first one as the model reads it, what is taught marked:</p><pre><code>{marked}</code></pre></div>"
    )


def _complaints(wrong: dict[str, str]) -> str:
    items = "".join(f"<li><code>{escape(name)}</code> {escape(message)}</li>" for name, message in wrong.items())
    return f'<div class="notice is-bad" role="alert">Not ready to start:<ul>{items}</ul></div>'


def _command(ws: Workspace, stage: str, config: Any) -> str:
    """The same run from a terminal."""
    settings = [f"--set {shlex.quote(f'{name}={_plain(value)}')}" for name, value in form.changed(config).items()]
    lines = [f"rlhf-studio {stage} --workspace {shlex.quote(str(ws.root))}", *settings]
    text = escape(" \\\n    ".join(lines))
    return f'<div class="command"><h4>The same from a terminal</h4><pre><code>{text}</code></pre></div>'


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
