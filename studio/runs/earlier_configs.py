"""Configs of runs that another version wrote: what this one knows is read, the rest is kept and shown, nothing is an error.

A setting that is gone, or that takes other values now, is left unread and its field gets the default; one that has another
name now is read under that. A run with unread settings is not resumed, since it would be trained otherwise.
"""

import json
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from modules.config import STAGES, StageConfig

RENAMED: dict[str, dict[str, str]] = {}
"""Stage -> the name of before -> the name of now."""


@lru_cache(maxsize=4096)
def read(stage: str, text: str) -> tuple[StageConfig, dict[str, Any]]:
    """The config and what of it was not read. Both may be shared: they are never changed."""
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
