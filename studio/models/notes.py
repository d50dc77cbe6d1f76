"""Notes, tags and pins that a person gives to checkpoints: the owner of `checkpoint_notes`.

A pinned checkpoint stands first in lists, and nothing deletes it until it is unpinned.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from studio.errors import CheckpointError
from studio.workspace import now

LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 4000, 40, 20
"""Characters of a note and of a tag; tags of one checkpoint."""


@dataclass(frozen=True)
class Note:
    """What a person says of a checkpoint."""

    text: str = ""
    tags: tuple[str, ...] = ()
    is_pinned: bool = False

    @property
    def marks(self) -> list[str]:
        """The pin and the tags, in words."""
        return [*(["pinned"] if self.is_pinned else []), *self.tags]


def of(db: Database, checkpoint_ids: Sequence[int]) -> dict[int, Note]:
    """Return the notes of these checkpoints by id; those without one are left out."""
    marks = ", ".join("?" * len(checkpoint_ids))
    rows = db.query(f"SELECT * FROM checkpoint_notes WHERE checkpoint_id IN ({marks})", list(checkpoint_ids))
    return {
        row["checkpoint_id"]: Note(row["note"], tuple(json.loads(row["tags"])), bool(row["is_pinned"])) for row in rows
    }


def pinned(db: Database) -> set[int]:
    """Return the ids of the checkpoints that are pinned."""
    return {row["checkpoint_id"] for row in db.query("SELECT checkpoint_id FROM checkpoint_notes WHERE is_pinned")}


def keep(
    db: Database,
    checkpoint_id: int,
    *,
    text: str | None = None,
    tags: Sequence[str] | None = None,
    is_pinned: bool | None = None,
) -> Note:
    """Store what is given, leave the rest as it is, and return the whole note. An empty text or list takes it away.

    Raises:
        CheckpointError: the note or a tag is too long, or there are too many tags.
    """
    old = of(db, [checkpoint_id]).get(checkpoint_id, Note())
    new = Note(
        old.text if text is None else _checked(text),
        old.tags if tags is None else _tags(tags),
        old.is_pinned if is_pinned is None else is_pinned,
    )
    row = {"checkpoint_id": checkpoint_id, "note": new.text, "tags": json.dumps(new.tags, ensure_ascii=False)}
    row |= {"is_pinned": int(new.is_pinned), "changed_at": now()}
    if new == Note():
        db.execute("DELETE FROM checkpoint_notes WHERE checkpoint_id = ?", [checkpoint_id])
    elif new != old:
        db.table("checkpoint_notes").upsert(row, pk="checkpoint_id")
    return new


def is_list_of_tags(found: object) -> bool:
    """Return whether a JSON value is a list of tags as `keep` stores it."""
    return isinstance(found, list) and all(isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG for tag in found)


def _checked(text: str) -> str:
    text = text.strip()
    if len(text) > LONGEST_NOTE:
        raise CheckpointError(
            f"A note has at most {LONGEST_NOTE:,} characters; this one has {len(text):,}. Shorten it."
        )
    return text


def _tags(given: Sequence[str]) -> tuple[str, ...]:
    """Return the tags without spaces around them, each once; a comma separates two."""
    found = tuple(dict.fromkeys(" ".join(tag.split()) for each in given for tag in each.split(",") if tag.strip()))
    if long := next((tag for tag in found if len(tag) > LONGEST_TAG), None):
        raise CheckpointError(f"A tag has at most {LONGEST_TAG} characters: shorten “{long[:60]}”, or make it a note.")
    if len(found) > MOST_TAGS:
        raise CheckpointError(f"A checkpoint has at most {MOST_TAGS} tags; these are {len(found)}. Leave some out.")
    return found
