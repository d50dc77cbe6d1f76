"""Columns under other names: given by a person, remembered by the structure of the file, or described by LLaMA-Factory's `dataset_info.json`."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from studio.errors import ImportRefused
from studio.workspace import now

TARGETS = (
    "prompt", "system", "history", "messages", "response", "chosen", "rejected", "response_a", "response_b", "preference",
    "label", "rater", "strength", "margin", "judged_at", "note", "model_a", "model_b", "category", "split",
)  # fmt: skip
"""What a column can be mapped to."""
DESCRIPTION = "dataset_info.json"
_DESCRIBED = {
    "prompt": "instruction", "query": "input", "response": "output", "messages": "conversations", "history": "history",
    "system": "system", "chosen": "chosen", "rejected": "rejected", "kto_tag": "kto_tag",
}  # fmt: skip
"""LLaMA-Factory's name of a column's meaning to ours."""
_ROLE_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
    "function_tag": "function_call",
    "observation_tag": "observation",
}
_TAGGED = ("messages", "conversations", "chosen", "rejected")
"""What is made of turns, whose keys and roles the tags name."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Mapped:
    """Our name of each mapped column to its name in the file, which may lead into objects: `question.text`."""

    columns: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    """How turns call role, content and the roles."""

    @property
    def sentence(self) -> str:
        """The mapping as it is written in the terminal."""
        return ",".join(f"{ours}={theirs}" for ours, theirs in self.columns.items())

    def of(self, row: Row) -> dict[str, Any]:
        """Return a row with the mapped columns under our names, and no other."""
        found = {ours: _dig(row, theirs) for ours, theirs in self.columns.items()}
        found = {ours: value for ours, value in found.items() if value is not _MISSING}
        return found | {name: self._turns(found[name]) for name in _TAGGED if self.tags and name in found}

    def check(self, rows: Sequence[Row], name: str) -> None:
        """Refuse a mapping of columns that are not there.

        Raises:
            ImportRefused: names them and those that are there.
        """
        missing = [theirs for theirs in self.columns.values() if all(_dig(row, theirs) is _MISSING for row in rows)]
        if missing:
            there = ", ".join(dict.fromkeys(column for row in rows for column in row))
            raise ImportRefused(f"{name} has no column {', '.join(missing)}. It has {there}. Nothing was imported.")

    def reads(self, column: str) -> bool:
        """Return whether a column of the file is mapped, or a part of it."""
        return any(theirs == column or theirs.startswith(f"{column}.") for theirs in self.columns.values())

    def _turns(self, value: Any) -> Any:
        value = [value] if isinstance(value, dict) else value
        if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
            return value
        roles = {self.tags[tag]: role for tag, role in _ROLE_TAGS.items() if tag in self.tags}
        role, content = self.tags.get("role_tag", "from"), self.tags.get("content_tag", "value")
        return [
            {"role": roles.get(str(turn.get(role)), turn.get(role)), "content": turn.get(content)} for turn in value
        ]


_MISSING = object()


def _dig(row: Row, path: str) -> Any:
    """Return a cell, or a value inside an object by a dotted path."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def parse(text: str) -> Mapped | None:
    """Read a mapping such as `prompt=question,chosen=good`; None for an empty one.

    Raises:
        ImportRefused: it is written otherwise, or maps to an unknown name.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    columns = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    if any(not sign or not theirs.strip() for _, sign, theirs in pairs) or len(columns) < len(pairs):
        raise ImportRefused(
            f"The mapping {text!r} cannot be read. Write it as prompt=question,chosen=good: each name once."
        )
    if unknown := [ours for ours in columns if ours not in TARGETS]:
        raise ImportRefused(f"Nothing is called {', '.join(unknown)}. A column can be mapped to {', '.join(TARGETS)}.")
    return Mapped(columns) if columns else None


def described(path: Path) -> Mapped | None:
    """Return what LLaMA-Factory's description next to a file says of its columns; None where it says nothing of them."""
    try:
        found = json.loads((path.parent / DESCRIPTION).read_text(encoding="utf-8"))
        entry = next(each for each in found.values() if isinstance(each, dict) and each.get("file_name") == path.name)
        columns = {_DESCRIBED[name]: theirs for name, theirs in entry.get("columns", {}).items() if name in _DESCRIBED}
        if {"chosen", "rejected"} <= columns.keys():
            columns.pop("output", None)
        tags = {name: str(value) for name, value in entry.get("tags", {}).items()}
    except (OSError, ValueError, AttributeError, StopIteration, RecursionError, TypeError):
        return None
    return Mapped(columns, tags) if columns and all(isinstance(theirs, str) for theirs in columns.values()) else None


def structure(columns: Iterable[str]) -> str:
    """Return a name for the set of a file's columns."""
    return hashlib.sha256(json.dumps(sorted(columns)).encode()).hexdigest()


def remember(db: Database, columns: Sequence[str], mapped: Mapped) -> None:
    """Keep a mapping for files of this structure."""
    row = [structure(columns), json.dumps(sorted(columns)), json.dumps(mapped.columns), now()]
    db.execute("INSERT OR REPLACE INTO import_maps (structure, columns, mapped, created_at) VALUES (?, ?, ?, ?)", row)


def remembered(db: Database, columns: Sequence[str]) -> Mapped | None:
    """Return the mapping kept for files of this structure."""
    found = db.execute("SELECT mapped FROM import_maps WHERE structure = ?", [structure(columns)]).fetchone()
    return Mapped(json.loads(found[0])) if found else None
