"""Looks at a model's folder without torch: whether its files are whole, and how it is stored.

Nothing is executed and nothing large is read, so a folder can be refused before a run is made from it; the worker looks
again at what it fetched from the hub.
"""

from modules.model.files.complete import check_complete
from modules.model.files.family import check_family
from modules.model.files.folder import check_folder, read_json
from modules.model.files.stored import check_kind, positions, stored_dtype
from modules.model.files.tokens import check_tokens
from modules.model.files.words import check_texts

__all__ = [
    "check_complete",
    "check_family",
    "check_folder",
    "check_kind",
    "check_texts",
    "check_tokens",
    "positions",
    "read_json",
    "stored_dtype",
]
