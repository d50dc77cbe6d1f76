"""Reads configs that another version wrote: known settings are read, the rest is kept and shown, none is an error.

A setting that is gone, or that takes other values now, is left unread and its field gets the default; a renamed setting
is read under its new name. A run with unread settings is not resumed, since it would be trained differently.
"""

from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from modules.config import STAGES, StageConfig
from studio import settings

RENAMED: dict[str, dict[str, str]] = {}
"""Stage -> old name -> new name."""


@lru_cache(maxsize=4096)
def read(stage: str, text: str) -> tuple[StageConfig, dict[str, Any]]:
    """Return the config and its unread settings. Both may be shared: never change them."""
    known = STAGES.get(stage, StageConfig)
    try:
        return known.model_validate_json(text), {}
    except ValidationError:
        return settings.read_tolerantly(known, text, RENAMED.get(stage, {}))
