"""Reads configs that another version wrote: known settings are read, the rest is kept and shown, none is an error.

A setting that is gone, or that takes other values now, is left unread and its field gets the default; a renamed setting
is read under its new name. A run with unread settings is not resumed, since it would be trained differently.
"""

import json
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from modules.config import STAGES, StageConfig

RENAMED: dict[str, dict[str, str]] = {}
"""Stage -> old name -> new name."""


@lru_cache(maxsize=4096)
def read(stage: str, text: str) -> tuple[StageConfig, dict[str, Any]]:
    """Return the config and its unread settings. Both may be shared: never change them."""
    known = STAGES.get(stage, StageConfig)
    try:
        return known.model_validate_json(text), {}
    except ValidationError:
        return _read_tolerantly(known, stage, text)


def _read_tolerantly(known: type[StageConfig], stage: str, text: str) -> tuple[StageConfig, dict[str, Any]]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return known(), {"config": "cannot be read"}
    if not isinstance(given, dict):
        return known(), {"config": given}
    for before, after in RENAMED.get(stage, {}).items():
        if before in given and after in known.model_fields and after not in given:
            given[after] = given.pop(before)
    unread = {name: value for name, value in given.items() if name not in known.model_fields}
    kept = {name: value for name, value in given.items() if name in known.model_fields}
    while True:
        try:
            return known.model_validate(kept), unread
        except ValidationError as error:
            wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]} & kept.keys() or set(kept)
            unread |= {name: kept.pop(name) for name in wrong}
