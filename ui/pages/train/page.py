"""Train: choose a stage, look at its settings, start. Errors are shown next to the field and the button.

The form is generated from the stage's config class. The same settings are shown as a command line.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from modules.config import STAGES, StageConfig, TrainConfig
from modules.config.presets import FIRST_LOOK, HARDWARE, SHORT, preset
from modules.config.recipes import RECIPES
from studio import settings
from studio.errors import ConfigError, StudioError
from studio.runs import launcher, prepare
from studio.workspace import Workspace
from ui import file_access
from ui.components import form, html
from ui.handlers import any_of, on
from ui.page import Page
from ui.pages.train import again, changed, kept, memory_fit, outlook, preview

TITLES = {
    "sft": "SFT",
    "sample": "Sample pairs",
    "reward": "Reward model",
    "ppo": "PPO",
    "dpo": "DPO",
    "evaluate": "Evaluate",
    "curve": "Learning curve",
}
START = {
    "sample": "Sample pairs",
    "reward": "Start reward model",
    "evaluate": "Evaluate",
    "curve": "Measure learning curve",
}
"""Stage to its button, where that is not its title."""
ESSENTIALS = {
    "sft": ("base_model", "learning_rate", "epochs", "max_demonstrations", "quantisation"),
    "sample": ("checkpoint", "opponent", "num_prompts", "split", "temperature", "exclude_categories"),
    "reward": ("sft_checkpoint", "learning_rate", "epochs", "ties", "use_strength"),
    "ppo": ("reward_checkpoint", "sft_checkpoint", "policy_checkpoint", "iterations", "batch_size", "learning_rate", "kl_coef",
            "max_new_tokens", "exclude_categories"),
    "dpo": ("sft_checkpoint", "learning_rate", "epochs", "beta", "label_smoothing", "snapshot"),
    "evaluate": ("checkpoints", "suites", "limit", "toxicity", "reward_checkpoint"),
    "curve": ("reward_checkpoint", "num_sizes", "num_seeds", "arms", "snapshot"),
}  # fmt: skip
"""The fields a person usually looks at; the others wait in accordions."""
UNSEEN = "<i hidden></i>"
"""The outlook of a form that was not shown yet: what is kept of the form (`kept`) brings the first one."""


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
    panels, watched, dropdowns, fits, outlooks, earlier = [], [], [], {}, [], []
    for name in TITLES:
        with gr.Row(visible=name == "sft", elem_classes="split train", elem_id=f"train-{name}") as panel:
            fields, fits[name], lines, origin = _panel(ws, name, tabs, run_chosen)
            watched += [fields[each] for each in outlook.watched(name)]
            dropdowns += [field for each, field in fields.items() if each in form.CHECKPOINT_STAGES]
            outlooks.append(lines)
            earlier.append(origin)
        panels.append(panel)
    on(stage.change, _show, [stage], panels)
    stage.input(None, [stage], None, js="(name) => window.studio.picked('train', name)")
    fits = {name: placed for name, placed in fits.items() if placed}
    inputs = [*(placed[0] for placed in fits.values()), *earlier, *outlooks, *watched]
    outputs = [part for placed in fits.values() for part in placed] + earlier + dropdowns + outlooks
    return Page(partial(_refresh, ws, list(fits)), inputs, outputs, item=stage)


def _panel(
    ws: Workspace, stage: str, tabs: gr.Tabs, run_chosen: gr.Textbox
) -> tuple[dict[str, Any], list[Any], gr.HTML, gr.Dropdown]:
    """Place one stage's form with its start; return its fields, the changing parts of the fit, the outlook, and the choice
    of an earlier run."""
    config_class = STAGES[stage]
    with gr.Column(scale=5, min_width=320):
        html.html(f'<p class="lead">{escape((config_class.__doc__ or "").strip())}</p>')
        choice = _preset_choice(stage) if issubclass(config_class, TrainConfig) else None
        origin = again.place(stage)
        with ws.read() as db:
            fields = form.build(db, config_class, ESSENTIALS[stage], stage)
        reopened = kept.place(stage)
    with gr.Column(scale=3, min_width=280, elem_classes="start"):
        start = gr.Button(
            START.get(stage, f"Start {TITLES[stage]}"),
            variant="primary",
            elem_id=f"start-{stage}",
        )
        lines = html.html(UNSEEN, elem_id=f"taken-{stage}")
        anyway = gr.Button("Start anyway", visible=False, elem_id=f"anyway-{stage}")
        told = html.html(html.notice(""), elem_id=f"told-{stage}")
        differing, reset = changed.build(stage)
        command = html.html(_command(ws, config_class()), elem_id=f"command-{stage}")
        inputs: list[Any] = list(fields.values())
        lessons, fits = (
            (
                [preview.build(ws, stage, inputs)],
                memory_fit.build(ws, stage, inputs, lines, partial(_outlook, ws, stage)),
            )
            if issubclass(config_class, TrainConfig)
            else ([], [])
        )
    shown = [command, differing, lines, told, anyway, *lessons, *fits[:1]]
    # By what a person does alone: a change of several fields by the server is answered with what it shows.
    on(any_of(inputs, "input"), partial(_check, ws, stage), inputs, shown, js=kept.keeping(stage))
    fill = partial(_bind_filling, ws, stage, inputs, shown)
    if choice is not None:
        fill(choice.input, choice, partial(_preset, ws, stage))
    fill(origin.input, origin, partial(_earlier, ws, stage))
    # As the page is opened: what is told by then is no answer to older settings, such as that a measurement is running.
    _bind_filling(ws, stage, inputs, shown[:4], reopened.submit, reopened, partial(_kept, stage))
    emptied = [each for each in (choice, origin) if each is not None]
    fill(reset.submit, reset, partial(_default, stage), emptied, trigger_mode="multiple")
    outputs = [told, anyway, tabs, run_chosen]
    looking = on(start.click, _looking, inputs, [told], validator=partial(form.validate, config_class))
    on(looking.success, partial(_start, ws, stage, False), inputs, outputs)
    on(anyway.click, partial(_start, ws, stage, True), inputs, outputs)
    return fields, fits, lines, origin


def _bind_filling(
    ws: Workspace,
    stage: str,
    inputs: list[Any],
    shown: list[Any],
    event: Callable[..., Any],
    source: Any,
    find: Callable[..., Mapping[str, Any]],
    emptied: Sequence[Any] = (),
    **options: Any,
) -> None:
    """Let an event of `source` fill the form at once, and empty with all its fields the choices that had filled it."""
    outputs = [*inputs, *shown, *emptied]
    filled = on(event, partial(_fill, ws, stage, find, len(shown), len(emptied)), [source, *inputs], outputs, **options)
    filled.success(None, inputs, None, js=kept.keeping(stage))


def _fill(
    ws: Workspace,
    stage: str,
    find: Callable[..., Mapping[str, Any]],
    num_shown: int,
    num_emptied: int,
    chosen: Any,
    *values: Any,
) -> list[Any]:
    """Put what was chosen into the form, with all that the form shows of it: asked for later, some fields would still be the old."""
    fields = STAGES[stage].model_fields
    found = find(chosen, values)
    filled = [found.get(name, value) for name, value in zip(fields, values, strict=True)]
    updates = [found.get(name, gr.skip()) for name in fields]
    return [
        *updates,
        *_check(ws, stage, *filled)[:num_shown],
        *["" if len(found) == len(fields) else gr.skip()] * num_emptied,
    ]


def _preset_choice(stage: str) -> gr.Dropdown:
    named = [
        (f"{found.title}, models up to about {found.billions:g} B parameters", name) for name, found in HARDWARE.items()
    ]
    look = (
        "A first look is a short run: it shows that everything works, and how long a step takes. "
        if stage in SHORT
        else ""
    )
    info = look + (
        "Hardware sets precision, quantisation, batch sizes and lengths; a paper's recipe sets how to train, for your data and for "
        "the method below. Choose one after the other for both; the rest stays as it is."
    )
    short = [("a first look", FIRST_LOOK)] if stage in SHORT else []
    papers = [(title, name) for name, title in RECIPES.items()]
    return gr.Dropdown(
        [("as below", ""), *short, *named, *papers], value="", label="Preset", info=info, elem_id=f"preset-{stage}"
    )


def _preset(ws: Workspace, stage: str, chosen: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the values of a preset; fields that it does not name stay as they are."""
    if chosen == FIRST_LOOK or chosen in HARDWARE:
        return preset(stage, chosen)
    return _recipe(ws, stage, values) if chosen in RECIPES else {}


def _earlier(ws: Workspace, stage: str, name: Any, _: Sequence[Any]) -> dict[str, Any]:
    with ws.read() as db:
        return again.values(db, stage, name)


def _default(stage: str, name: Any, _: Sequence[Any]) -> dict[str, Any]:
    return changed.defaults(stage, name)


def _kept(stage: str, given: Any, _: Sequence[Any]) -> dict[str, Any]:
    return kept.values(stage, given)


def _recipe(ws: Workspace, stage: str, values: Sequence[Any]) -> dict[str, Any]:
    config, wrong = form.parse(STAGES[stage], values)
    if config is None:
        raise ConfigError(f"A recipe needs to know what it is for. Correct first: {', '.join(wrong)}.")
    file_access.check_config(ws, config)
    return prepare.recipe(ws, config)


def _show(stage: str) -> list[Any]:
    return [gr.Row(visible=name == stage) for name in TITLES]


def _refresh(ws: Workspace, measurable: list[str], *values: Any) -> list[Any]:
    """Show what is measured now, and new choices for all checkpoint dropdowns, in the order of `build`."""
    given, sentences = iter(values), []
    updates = [update for name in measurable for update in memory_fit.states(ws, name, next(given))]
    with ws.read() as db:
        updates += [again.refreshed(db, name, next(given)) for name in TITLES]
    shown = {name: next(given) for name in TITLES}
    for name in TITLES:
        current = {field: next(given) for field in outlook.watched(name)}
        chosen = {field: value for field, value in current.items() if field in form.CHECKPOINT_STAGES}
        updates += form.refreshed(ws, STAGES[name], chosen)
        sentences.append(gr.skip() if shown[name] == UNSEEN else outlook.of_watched(ws, name, *current.values()))
    return updates + sentences


def _check(ws: Workspace, stage: str, *values: Any) -> list[Any]:
    """Show after every change the command line, or what is wrong, field by field; older messages go."""
    config, wrong = form.parse(STAGES[stage], values)
    off = [gr.Button(visible=False), *([""] * 2 if issubclass(STAGES[stage], TrainConfig) else [])]
    if config is None:
        return [html.notice("The command line is shown again once the marked fields are fixed."), "", "",
                preview.complaints(stage, wrong), *off]  # fmt: skip
    order = form.order(STAGES[stage], ESSENTIALS[stage])
    return [_command(ws, config), changed.draw(stage, config, order), outlook.words(ws, config), html.notice(""), *off]


def _outlook(ws: Workspace, stage: str, *values: Any) -> str:
    config, _ = form.parse(STAGES[stage], values)
    return outlook.words(ws, config) if config else ""


def _looking(*_: Any) -> str:
    """Say at once that rows are being encoded, since long ones take some seconds before a run may start."""
    return '<p class="notice is-note is-working" role="status">Checking the rows before the start …</p>'


def _start(ws: Workspace, stage: str, anyway: bool, *values: Any) -> list[Any]:
    """Create and start the run and open it; or say why not, with a way to start anyway where too many rows are left out."""
    config, wrong = form.parse(STAGES[stage], values)
    off, stay = gr.Button(visible=False), [gr.skip(), gr.skip()]
    if config is None:
        return [preview.complaints(stage, wrong), off, *stay]
    try:
        if anyway:
            config = config.model_copy(update={"max_dropped": 1.0})
        file_access.check_config(ws, config)
        prepared = prepare.resolve(ws, config)
        refused = preview.refusal(ws, prepared)
        if refused:
            return [html.notice(refused.text, "bad"), gr.Button(visible=refused.may_start_anyway), *stay]
        run, is_new = launcher.start_once(ws, prepared)
    except StudioError as error:
        return [html.notice(str(error), "bad"), off, *stay]
    said = (
        "was started."
        if is_new
        else "was started a moment ago with these settings; a second click does not start another run."
    )
    return [html.notice(f"{run.name} {said}", "good"), off, gr.Tabs(selected="runs"), run.name]


def _command(ws: Workspace, config: StageConfig) -> str:
    """Return the command that starts the same run from a terminal."""
    return f'<div class="command"><h4>The same from a terminal</h4>{html.copyable(settings.command_line(ws, config))}</div>'
