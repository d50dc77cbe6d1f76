"""The migration that gives rating events the column `restores`: of an event that lets an earlier judgement count again, that judgement.

Until then such an event was known by its uuid, which began with "again-". Those events get the column filled, here and where
an archive of before is read in.
"""

from typing import Any

from sqlite_utils import Database

_BEFORE = "again-"
_COLUMN = "ALTER TABLE rating_events ADD COLUMN restores INTEGER REFERENCES rating_events(id) CHECK (restores < id)"
"""An older event, so that following them ends."""


def add(db: Database) -> None:
    """Add the column and fill it; what else the events say stays as it is."""
    db.execute(_COLUMN)
    kept = next(db.query("SELECT sql FROM sqlite_master WHERE name = 'rating_events_refuse_update'"))["sql"]
    db.execute("DROP TRIGGER rating_events_refuse_update")
    # Oldest first: what one restores may itself restore another.
    for row in list(db.query("SELECT * FROM rating_events WHERE uuid GLOB ? ORDER BY id", [f"{_BEFORE}*"])):
        db.execute("UPDATE rating_events SET restores = ? WHERE id = ?", [restored_by(db, row), row["id"]])
    db.execute(kept)


def restored_by(db: Database, event: dict[str, Any]) -> int | None:
    """What an event of before the column restores; None of one that restores nothing, or names what is not there."""
    if not str(event.get("uuid")).startswith(_BEFORE):
        return None
    undo = _event(db, event.get("supersedes"))
    event = _event(db, undo.get("supersedes"))
    while event.get("restores") is not None:  # of one that restores another, that one decides whose place it took
        event = _event(db, event["restores"])
    before = _event(db, event.get("supersedes"))
    return None if before.get("outcome") == "undo" else before.get("id")


def _event(db: Database, event_id: Any) -> dict[str, Any]:
    return next(db.query("SELECT * FROM rating_events WHERE id = ?", [event_id]), {})
