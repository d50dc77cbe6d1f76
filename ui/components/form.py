"""A form generated from a stage's pydantic config class: the class is the only place where a field is described.

Label = words for the field (`labels`), help = its name as in `--set name=value`, its docstring and bounds, `Literal` ->
dropdown, bool -> checkbox, numbers -> number, checkpoint names -> dropdown of what the workspace has. Values are checked by
the class alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import annotated_types
import gradio as gr
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from modules.config import StageConfig
from studio import settings
from studio.errors import CheckpointError, StudioError
from studio.models import checkpoint_pages as shelf
from studio.models import checkpoints
from studio.models.base_names import BASE
from studio.workspace import Database, Workspace
from ui.components import dropdown, html, labels

Choices = list[tuple[str, str]]
Field = gr.Dropdown | gr.Checkbox | gr.Number | gr.Textbox
CHECKPOINT_STAGES = {
    "sft_checkpoint": ("sft",),
    "reward_checkpoint": ("reward",),
    "policy_checkpoint": checkpoints.POLICIES,
    "checkpoint": checkpoints.POLICIES,
    "opponent": checkpoints.POLICIES,
    "gold_checkpoint": ("reward",),
}
"""Config fields that name a checkpoint -> stages whose checkpoints fit."""


def build(db: Database, config_class: type[BaseModel], essentials: Sequence[str], prefix: str) -> dict[str, Field]:
    """Place the form: essentials first, the others below, folded, those of a stage by their purpose.

    Returns:
        field name -> component, in the order of the class. Each has the elem_id `<prefix>-<field>`.
    """
    fields = config_class.model_fields
    placed: dict[str, Field] = {}
    _place(db, config_class, essentials, prefix, placed)
    for title, names in _groups(config_class, essentials):
        if not names:
            continue
        with gr.Accordion(f"{title} ({len(names)})", open=False, elem_classes="more"):
            _place(db, config_class, names, prefix, placed)
    return {name: placed[name] for name in fields}


def order(config_class: type[BaseModel], essentials: Sequence[str]) -> list[str]:
    """Return the names of the fields in the order in which `build` places them."""
    return [*essentials, *(name for _, names in _groups(config_class, essentials) for name in names)]


def parse(config_class: type[BaseModel], values: Sequence[Any]) -> tuple[Any | None, dict[str, str]]:
    """Return the config behind the form's values, or None with field name -> what is wrong with it."""
    given = dict(zip(config_class.model_fields, values, strict=True))
    try:
        return config_class.model_validate(given), {}
    except ValidationError as error:
        fields = config_class.model_fields
        return None, {str(e["loc"][0]): settings.complaint(fields[str(e["loc"][0])], e) for e in error.errors()}


def validate(config_class: type[BaseModel], *values: Any) -> list[dict[str, Any]]:
    """Mark each wrong field with Gradio's own mark, as the `validator` of an event; its handler is not called then."""
    _, wrong = parse(config_class, values)
    return [gr.validate(name not in wrong, wrong.get(name, "")) for name in config_class.model_fields]


def submit(config_class: type[BaseModel], values: Sequence[Any], act: Callable[[Any], Any]) -> Any:
    """Return the notice that `act` gives for the form's config, or one that says what is wrong."""
    config, wrong = parse(config_class, values)
    if config is None:
        return html.notice("; ".join(f"{name} {text}" for name, text in wrong.items()), "bad")
    try:
        return act(config)
    except StudioError as error:
        return html.notice(str(error), "bad")


def choices(db: Database, config_class: type[BaseModel], name: str) -> Choices:
    """Return what a checkpoint field offers: the default, with its meaning, and the newest; any name can be typed."""
    fitting = [c.name for c in shelf.page(db, *CHECKPOINT_STAGES[name])]
    base = [(f"{BASE}: the pretrained model", BASE)] if name == "opponent" else []
    return [(_automatic(db, config_class, name), ""), *((c, c) for c in fitting), *base]


def refreshed(ws: Workspace, config_class: type[BaseModel], current: Mapping[str, Any]) -> list[Any]:
    """Return updates for the checkpoint dropdowns: new choices, the chosen value kept while it exists."""
    updates = []
    for name, value in current.items():
        with ws.read() as db:
            offered = choices(db, config_class, name)
            is_known = value in (key for _, key in offered) or shelf.is_known(db, str(value), *CHECKPOINT_STAGES[name])
            kept = value if is_known else ""
        if kept and kept not in [key for _, key in offered]:
            offered.append((kept, kept))
        updates.append(dropdown.offer(offered, value, kept))
    return updates


def _groups(config_class: type[BaseModel], essentials: Sequence[str]) -> list[tuple[str, list[str]]]:
    others = [name for name in config_class.model_fields if name not in essentials]
    return labels.by_purpose(others) if issubclass(config_class, StageConfig) else [(labels.REST, others)]


def _place(
    db: Database, config_class: type[BaseModel], names: Sequence[str], prefix: str, placed: dict[str, Field]
) -> None:
    with gr.Row(elem_classes="fields"):
        for name in names:
            placed[name] = _component(db, config_class, name, config_class.model_fields[name], f"{prefix}-{name}")


def _component(db: Database, config_class: type[BaseModel], name: str, field: FieldInfo, elem_id: str) -> Field:
    common: dict[str, Any] = {
        "value": field.default,
        "label": labels.label(name),
        "info": " ".join(filter(None, [f"`{name}`", _as_markdown(field.description or ""), _bounds(field)])),
        "elem_id": elem_id,
        "min_width": 240,
        "interactive": True,
    }
    if name in CHECKPOINT_STAGES:
        # Any name, since there may be thousands; it is looked up before a run is made.
        return gr.Dropdown(choices=choices(db, config_class, name), allow_custom_value=True, **common)
    if get_origin(field.annotation) is Literal:
        return gr.Dropdown(choices=list(get_args(field.annotation)), **common)
    if field.annotation is bool:
        return gr.Checkbox(**common)
    if field.annotation in (int, float):
        return gr.Number(step=1 if field.annotation is int else 0.001, **common)
    return gr.Textbox(max_lines=1, **common)


def _as_markdown(text: str) -> str:
    """Return a text so that Gradio's Markdown shows its asterisks; between backticks they show as they are."""
    return "`".join(part if number % 2 else part.replace("*", "\\*") for number, part in enumerate(text.split("`")))


def _bounds(field: FieldInfo) -> str:
    """Return the bounds in words. Gradio's own minimum would show a toast that names no field, so the class checks."""
    low = high = ""
    for rule in field.metadata:
        match rule:
            case annotated_types.Ge(ge=bound):
                low = f"at least {_figure(bound)}"
            case annotated_types.Gt(gt=bound):
                low = f"above {_figure(bound)}"
            case annotated_types.Le(le=bound):
                high = "" if bound == 2**31 - 1 else f"at most {_figure(bound)}"
            case annotated_types.Lt(lt=bound):
                high = f"below {_figure(bound)}"
    both = " and ".join(filter(None, [low, high]))
    return f"({both})" if both else ""


def _figure(bound: Any) -> str:
    return f"{bound:g}"


def _automatic(db: Database, config_class: type[BaseModel], name: str) -> str:
    """Return the first choice of a checkpoint field: what an empty value means now."""
    if "source" in config_class.model_fields:  # of a rating session
        return "newest, if the source needs one"
    if name == "gold_checkpoint":
        return "none; with best_of, one of the other half of the votes"
    if name == "opponent":
        return "none: two samples of one policy"
    if name == "policy_checkpoint":
        return "the SFT checkpoint"
    if name == "sft_checkpoint" and "reward_checkpoint" in config_class.model_fields:
        return f"the reward model's parent{_reward_parent(db)}"
    found = next((c for stage in CHECKPOINT_STAGES[name] if (c := checkpoints.newest(db, stage))), None)
    return f"newest: {found.name}" if found else "newest (none yet)"


def _reward_parent(db: Database) -> str:
    reward = checkpoints.newest(db, "reward")
    try:
        parent = checkpoints.parents(db, reward.name).get("sft") if reward else None
    except CheckpointError:  # its folder is gone; starting the run will say so
        parent = None
    return f": {parent}" if parent else ""
