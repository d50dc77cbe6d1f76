"""The migration that adds the column `restores` to rating events: the earlier judgement that an event lets count again.

Before, the uuid of such an event began with "again-". Those events get the column filled, here and when an older
archive is imported.
"""

from typing import Any

from sqlite_utils import Database

_BEFORE = "again-"
_COLUMN = "ALTER TABLE rating_events ADD COLUMN restores INTEGER REFERENCES rating_events(id) CHECK (restores < id)"
"""It names an older event, so that a chain of them ends."""


def add(db: Database) -> None:
    """Add the column and fill it; the events' other columns stay as they are."""
    db.execute(_COLUMN)
    kept = next(db.query("SELECT sql FROM sqlite_master WHERE name = 'rating_events_refuse_update'"))["sql"]
    db.execute("DROP TRIGGER rating_events_refuse_update")
    # Oldest first: a restored event may itself restore another.
    for row in list(db.query("SELECT * FROM rating_events WHERE uuid GLOB ? ORDER BY id", [f"{_BEFORE}*"])):
        db.execute("UPDATE rating_events SET restores = ? WHERE id = ?", [restored_by(db, row), row["id"]])
    db.execute(kept)


def restored_by(db: Database, event: dict[str, Any]) -> int | None:
    """Return what an event older than the column restores; None if nothing, or an event that does not exist."""
    if not str(event.get("uuid")).startswith(_BEFORE):
        return None
    undo = _event(db, event.get("supersedes"))
    event = _event(db, undo.get("supersedes"))
    while event.get("restores") is not None:  # a restored event decides which event was replaced
        event = _event(db, event["restores"])
    before = _event(db, event.get("supersedes"))
    return None if before.get("outcome") == "undo" else before.get("id")


def _event(db: Database, event_id: Any) -> dict[str, Any]:
    return next(db.query("SELECT * FROM rating_events WHERE id = ?", [event_id]), {})
