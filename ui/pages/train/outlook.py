"""Says, under Start, how much a run would have to do, its time and memory, and what it takes over from its checkpoint."""

from html import escape
from typing import Any

from pydantic import ValidationError

from modules.config import STAGES, StageConfig, TrainConfig
from studio.errors import StudioError
from studio.models import parents
from studio.runs import extent, memory_fit, prepare
from studio.workspace import Database, Workspace
from ui import file_access
from ui.components import form, html

FIELDS = {*extent.FIELDS, *memory_fit.FIELDS}


def watched(stage: str) -> list[str]:
    """Return the names of the fields that it depends on, in the order of the class."""
    return [name for name in STAGES[stage].model_fields if name in form.CHECKPOINT_STAGES or name in FIELDS]


def of_watched(ws: Workspace, stage: str, *values: Any) -> str:
    """Return the lines for the values of the fields that `watched` names."""
    given = {
        name: value or "" if name in form.CHECKPOINT_STAGES else value
        for name, value in zip(watched(stage), values, strict=True)
    }
    try:
        return words(ws, STAGES[stage].model_validate(given))
    except ValidationError:  # the form says so
        return ""


def words(ws: Workspace, config: StageConfig) -> str:
    """Return the lines for a config; empty where the run could not start as it is, or names files that the page may not read."""
    try:
        file_access.check_config(ws, config)
        with ws.read() as db:
            found = prepare.inherited(db, config)
            said = [
                _quiet(extent.sentence(db, config)),
                _memory(db, config),
                _quiet(parents.sentence(found) if found else ""),
            ]
    except StudioError:  # starting the run will say so
        return ""
    return "".join(said)


def _quiet(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>' if text else ""


def _memory(db: Database, config: StageConfig) -> str:
    """Return the line on a run's memory; empty for stages that do not train."""
    if not isinstance(config, TrainConfig):
        return ""
    try:
        found = memory_fit.look(db, config)
    except StudioError as error:
        return _quiet(f"Memory: {error}")
    free = f"{html.size(found.place.free)} free now ({found.place.title})"
    said = f"Memory: about {html.size(found.needed)} of {free}, with the longest texts that the settings allow."
    if found.is_fitting:
        return _quiet(said)
    if found.would_fit_alone:
        return _quiet(f"{said} It fits once what holds the rest has ended.")
    tip = f" {found.advice[0]}" if found.advice else ""
    return f'<p class="tight">{escape(f"{said} It probably will not fit.{tip}")}</p>'
