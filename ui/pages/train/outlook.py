"""Says, under Start, how much a run would have to do and what it takes over from its checkpoint."""

from html import escape
from typing import Any

from pydantic import ValidationError

from modules.config import STAGES, StageConfig
from studio.errors import StudioError
from studio.models import parents
from studio.runs import extent, prepare
from studio.workspace import Workspace
from ui import file_access
from ui.components import form


def watched(stage: str) -> list[str]:
    """Return the names of the fields that it depends on, in the order of the class."""
    return [name for name in STAGES[stage].model_fields if name in form.CHECKPOINT_STAGES or name in extent.FIELDS]


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
            said = [extent.sentence(db, config), parents.sentence(found) if found else ""]
    except StudioError:  # starting the run will say so
        return ""
    return "".join(f'<p class="quiet">{escape(line)}</p>' for line in said if line)
